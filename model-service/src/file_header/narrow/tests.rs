//! What is let through of a header.

use super::*;

/// Bytes of a string that are let through in these tests.
const MAX: usize = 100;

fn through(header: &[u8]) -> (Vec<u8>, bool, Option<HeaderFault>) {
    let notes = Notes::default();
    let mut out = Vec::new();
    let mut narrow = Narrow::new(header, header.len() as u64, &notes);
    narrow.string_bytes_max = MAX;
    let read = narrow.read_to_end(&mut out);
    let fault = notes.take_fault();
    assert_eq!(read.is_err(), fault.is_some());
    (out, notes.cut.get(), fault)
}

#[test]
fn a_short_string_is_let_through_as_it_is() {
    let header = r#"{"a\"b":"ハ\u30cf\\","c":[1,{"d":"\ud83d\ude00"}]}"#.as_bytes();
    assert_eq!(through(header), (header.to_vec(), false, None));
}

#[test]
fn a_long_string_is_cut_between_characters_and_escapes() {
    // Each of them crosses the limit at another of its bytes.
    for unit in [
        "x",
        "ハ",
        "😀",
        r"\n",
        r#"\""#,
        r"\u30cf",
        r"\ud83d\ude00",
        r"\\",
    ] {
        for before in 0..16 {
            let start = "y".repeat(before);
            let text = unit.repeat(MAX / unit.len() + 40);
            let header = format!(r#"["{start}{text}","z"]"#);
            let (out, _, fault) = through(header.as_bytes());
            assert_eq!(fault, None);
            assert!(out.len() < MAX + 32, "{unit}: {}", out.len());
            let read: Vec<String> = serde_json::from_slice(&out).unwrap();
            assert_eq!(read[1], "z", "{unit} {before}");
        }
    }
}

#[test]
fn a_string_that_was_cut_is_told_when_its_end_was_let_through() {
    let long = format!("\"{}\"", "a".repeat(MAX + 1));
    assert!(through(long.as_bytes()).1);
    let header = format!("[{long},\"b\"]");
    let notes = Notes::default();
    let mut narrow = Narrow::new(header.as_bytes(), header.len() as u64, &notes);
    narrow.string_bytes_max = MAX;
    let mut first = [0; MAX + 2];
    narrow.read_exact(&mut first).unwrap();
    assert_eq!((notes.cut.get(), notes.at.get()), (false, MAX as u64 + 2));
    let mut end = [0];
    narrow.read_exact(&mut end).unwrap();
    assert_eq!(
        (end, notes.cut.take(), notes.at.get()),
        (*b"\"", true, MAX as u64 + 4)
    );
    narrow.read_exact(&mut first[..4]).unwrap();
    assert!(!notes.cut.get());
    let whole = format!("\"{}\"", "a".repeat(MAX));
    assert_eq!(
        through(whole.as_bytes()),
        (whole.clone().into_bytes(), false, None)
    );
}
