//! The headers of F52: each is refused with a word of its own, or read.

use super::*;

#[test]
fn f52_longer_than_the_file() {
    let mut bytes = file(b"{}", 0);
    bytes[0] = 3;
    let said = read_all(&bytes).unwrap_err();
    assert_eq!(said.word(), "header_longer_than_file");
    assert!(
        said.to_string()
            .contains("3 bytes long, but the file has 10"),
        "{said}"
    );
    assert_eq!(
        read_all(b"1234567").unwrap_err(),
        HeaderFault::TooShort { size_bytes: 7 }
    );
    assert_eq!(
        read_all(b"").unwrap_err(),
        HeaderFault::TooShort { size_bytes: 0 }
    );
}

#[test]
fn f52_two_to_the_64_less_one() {
    let bytes = [[0xff; 8], [b'{'; 8]].concat();
    let declared_bytes = u64::MAX;
    assert_eq!(
        read_all(&bytes),
        Err(HeaderFault::TooLong { declared_bytes })
    );
}

#[test]
fn f52_over_100_mb() {
    let size_bytes = 10_000_000_000;
    let declared_bytes = HEADER_BYTES_MAX + 1;
    let first = declared_bytes.to_le_bytes();
    assert_eq!(
        data_offset(first, size_bytes),
        Err(HeaderFault::TooLong { declared_bytes })
    );
    let at_the_limit = HEADER_BYTES_MAX.to_le_bytes();
    assert_eq!(
        data_offset(at_the_limit, size_bytes),
        Ok(HEADER_BYTES_MAX + 8)
    );
}

#[test]
fn f52_not_an_object() {
    for header in [&b"[]"[..], b"null", b" {}", b"\"{}\"", b"", b"7"] {
        assert_eq!(fault(header), HeaderFault::NotAnObject, "{header:?}");
    }
}

#[test]
fn f52_duplicate_keys() {
    let two_tensors = br#"{"a":{"data_offsets":[0,0]},"b":{"data_offsets":[0,0]},"\u0061":{"data_offsets":[0,0]}}"#;
    assert_eq!(
        fault(two_tensors),
        HeaderFault::DuplicateName {
            name: "a".to_owned()
        }
    );
    let in_metadata = br#"{"__metadata__":{"k":"1","k":"1"}}"#;
    assert_eq!(
        fault(in_metadata),
        HeaderFault::DuplicateName {
            name: "k".to_owned()
        }
    );
    let twice = br#"{"__metadata__":{},"__metadata__":{}}"#;
    assert_eq!(fault(twice).word(), "header_duplicate_name");
    let in_tensor = br#"{"a":{"data_offsets":[0,0],"data_offsets":[0,1]}}"#;
    assert_eq!(fault(in_tensor).word(), "header_duplicate_name");
    let same_in_both = br#"{"__metadata__":{"ss_a":"1"},"ss_a":{"data_offsets":[0,0]}}"#;
    assert_eq!(read_all(&file(same_in_both, 0)).unwrap().metadata.len(), 1);
}

#[test]
fn f52_not_utf8() {
    for (header, at) in [
        (&b"{\"\xff\":1}"[..], 2),
        (b"{\"\xc0\x80\":1}", 2),
        (b"{\"\xed\xa0\x80\":1}", 3),
        (b"{\"\xe3\x83\":1}", 4),
        (b"{\xe3\x83\x8f}", 1),
    ] {
        assert_eq!(fault(header), HeaderFault::NotUtf8 { at }, "{header:?}");
    }
    // Also where nothing is kept.
    let long = [
        br#"{"__metadata__":{"ss_a":""#,
        &vec![b'a'; VALUE_BYTES_MAX][..],
        b"aa\xffa\"}}",
    ]
    .concat();
    assert_eq!(fault(&long).word(), "header_not_utf8");
}

#[test]
fn f52_nested_deep() {
    let most = DEPTH_MAX as usize - 2;
    let nested = |depth: usize| {
        let inner = [vec![b'['; depth], vec![b']'; depth]].concat();
        [br#"{"a":{"data_offsets":[0,0],"more":"#, &inner[..], b"}}"].concat()
    };
    assert_eq!(read_all(&file(&nested(most), 0)).unwrap().tensor_count, 1);
    assert_eq!(fault(&nested(most + 1)).word(), "header_nested_too_deep");
    let objects = br#"{"a":"#.repeat(100_000);
    assert_eq!(fault(&objects).word(), "header_nested_too_deep");
    let arrays = [br#"{"a":{"b":"#, &vec![b'['; 1_000_000][..]].concat();
    assert_eq!(fault(&arrays).word(), "header_nested_too_deep");
}

#[test]
fn f52_truncated_header() {
    for header in [
        &b"{"[..],
        b"{\"a",
        b"{\"a\":",
        b"{\"a\":{\"data_offsets\":[0,",
        b"{\"__metadata__\":{\"k\":\"v",
    ] {
        let at = header.len() as u64;
        assert_eq!(fault(header), HeaderFault::Truncated { at }, "{header:?}");
    }
}

#[test]
fn f52_trailing_text() {
    for header in [&b"{}x"[..], b"{} {}", b"{}\0\0"] {
        assert_eq!(fault(header).word(), "header_trailing_text", "{header:?}");
    }
}

#[test]
fn f52_thirty_megabytes_and_sound() {
    let mut header = String::from(r#"{"__metadata__":{"ss_tag_frequency":""#);
    header.push_str(&"copper kettle, ".repeat(1_000_000));
    header.push_str(r#"","ss_datasets":""#);
    header.push_str(&r"\u30cf\ud83d\ude00".repeat(500_000));
    header.push_str(r#"","modelspec.title":"kettle"}"#);
    let mut end = 0;
    while header.len() < 30_000_000 {
        let tensor = tensor(end, end + 2);
        header.push_str(&format!(r#","model.diffusion_model.{end}":{tensor}"#));
        end += 2;
    }
    header.push('}');
    let read = read_all(&file(header.as_bytes(), end as usize)).unwrap();
    assert_eq!(
        (read.tensor_count, read.data_fault.clone()),
        (end / 2, None)
    );
    assert_eq!(
        (read.left_out, kept_bytes(&read)),
        (2, "modelspec.titlekettle".len())
    );
    assert_eq!(read.stated, Some(Stated::Checkpoint));
}
