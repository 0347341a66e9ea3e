//! GGUF files.

use super::*;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

fn gguf(version: u32, keys: &[Vec<u8>]) -> Vec<u8> {
    let counts = [291_u64.to_le_bytes(), (keys.len() as u64).to_le_bytes()].concat();
    [b"GGUF", &version.to_le_bytes()[..], &counts, &keys.concat()].concat()
}

fn read_gguf(bytes: &[u8]) -> Result<Header, HeaderFault> {
    read(Format::Gguf, &mut &bytes[..], bytes.len() as u64)
}

/// The number of the type of texts, of 32-bit numbers, of arrays.
const TEXT: u32 = 8;
const NUMBER: u32 = 4;
const ARRAY: u32 = 9;

fn array(kind: u32, count: u64, values: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), values].concat()
}

#[test]
fn the_general_keys_of_a_gguf_file_are_read_past_numbers_and_arrays() {
    let keys = [
        key("general.architecture", TEXT, &text("flux")),
        key("general.file_type", NUMBER, &[7, 0, 0, 0]),
        key(
            "general.tags",
            ARRAY,
            &array(TEXT, 2, &[text("a"), text("b")].concat()),
        ),
        key("flux.sizes", ARRAY, &array(NUMBER, 2, &[0; 8])),
        key("flux.word", TEXT, &text("dropped")),
        key("general.name", TEXT, &text("Harbour")),
    ];
    let header = read_gguf(&gguf(3, &keys)).unwrap();
    assert_eq!(header.metadata.len(), 2);
    assert_eq!(header.metadata["general.name"], "Harbour");
    assert_eq!(
        (header.stated, header.tensor_count),
        (Some(Stated::Checkpoint), 291)
    );
    let found = embedded::findings(&header, false);
    let family = found
        .iter()
        .find(|finding| finding.field() == crate::findings::Field::SdVersion);
    assert_eq!(
        family.unwrap().value(),
        &crate::findings::Value::Text("Flux".to_owned())
    );
}

#[test]
fn a_gguf_file_says_whether_it_is_an_adapter_or_something_else() {
    let architecture = |word: &str| key("general.architecture", TEXT, &text(word));
    let stated = |keys: &[Vec<u8>]| read_gguf(&gguf(2, keys)).unwrap().stated;
    let adapter = key("general.type", TEXT, &text("adapter"));
    assert_eq!(stated(&[architecture("sdxl"), adapter]), Some(Stated::Lora));
    assert_eq!(stated(&[architecture("t5encoder")]), Some(Stated::Other));
    assert_eq!(stated(&[]), None);
}

#[test]
fn a_gguf_file_that_is_cut_damaged_or_foreign_is_told() {
    let whole = gguf(3, &[key("general.name", TEXT, &text("Harbour"))]);
    for end in 0..whole.len() {
        let said = read_gguf(&whole[..end]).unwrap_err();
        assert_eq!(said.word(), "gguf_damaged", "{end}");
    }
    let unknown_kind = gguf(3, &[key("a", 77, &[])]);
    assert_eq!(read_gguf(&unknown_kind).unwrap_err().word(), "gguf_damaged");
    assert_eq!(
        read_gguf(&gguf(1, &[])),
        Err(HeaderFault::GgufVersion { version: 1 })
    );
    assert_eq!(
        read_gguf(b"<!DOCTYPE").unwrap_err().word(),
        "header_other_content"
    );
}

#[test]
fn reading_a_gguf_file_ends_where_its_claims_grow_too_large() {
    for value in [
        key("a", ARRAY, &array(NUMBER, u64::MAX, &[])),
        key("a", ARRAY, &array(TEXT, u64::MAX, &[0xff; 8])),
        key("a", ARRAY, &array(ARRAY, 1, &[])),
        key("a", TEXT, &u64::MAX.to_le_bytes()),
    ] {
        let read = read_gguf(&gguf(3, &[key("general.name", TEXT, &text("n")), value]));
        assert_eq!(read.unwrap().metadata.len(), 1);
    }
}
