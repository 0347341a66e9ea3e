//! Headers that are sound, headers of F52, and any bytes at all.

use std::io::{self, Read};

use proptest::prelude::*;
use serde_json::json;

use super::*;

mod f52;
mod fuzz;
mod gguf;

/// A safetensors file of this header and so many bytes of tensors.
pub(super) fn file(header: &[u8], data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len() + data_bytes, 7);
    bytes
}

pub(super) fn read_all(bytes: &[u8]) -> Result<Header, HeaderFault> {
    read(Format::Safetensors, &mut &bytes[..], bytes.len() as u64)
}

fn fault(header: &[u8]) -> HeaderFault {
    read_all(&file(header, 0)).unwrap_err()
}

/// What a header keeps of its metadata, in bytes.
pub(super) fn kept_bytes(header: &Header) -> usize {
    let bytes = |(name, value): (&String, &String)| name.len() + value.len();
    header.metadata.iter().map(bytes).sum()
}

fn tensor(start: u64, end: u64) -> serde_json::Value {
    json!({"dtype": "F16", "shape": [end - start], "data_offsets": [start, end]})
}

/// The metadata in a file with one tensor of that name.
pub(super) fn with_metadata(metadata: &serde_json::Value, tensor_name: &str) -> Header {
    let header = json!({"__metadata__": metadata, tensor_name: tensor(0, 4)});
    read_all(&file(header.to_string().as_bytes(), 4)).unwrap()
}

#[test]
fn a_sound_header_tells_its_metadata_its_kind_and_where_tensors_begin() {
    let header = with_metadata(
        &json!({"ss_v2": "False", "format": "pt"}),
        "lora_unet_a.alpha",
    );
    assert_eq!(
        header.metadata,
        BTreeMap::from([("ss_v2".to_owned(), "False".to_owned())])
    );
    assert_eq!(header.stated, Some(Stated::Lora));
    assert_eq!((header.tensor_count, header.data_fault), (1, None));
    let bytes = file(b"{}     ", 3);
    let empty = read_all(&bytes).unwrap();
    assert_eq!(empty.data_offset, Some(15), "padding belongs to the header");
    let first = bytes[..8].try_into().unwrap();
    assert_eq!(data_offset(first, bytes.len() as u64), Ok(15));
}

#[test]
fn of_much_metadata_only_so_much_is_kept() {
    let value = "v".repeat(VALUE_BYTES_MAX - 8);
    let values: serde_json::Map<_, _> = (0..6).map(|n| (format!("ss_{n}"), json!(value))).collect();
    let read = with_metadata(&json!(values), "a");
    assert_eq!((read.metadata.len(), read.left_out), (4, 2));
    assert!(kept_bytes(&read) <= METADATA_BYTES_MAX);
}

#[test]
fn what_is_no_safetensors_header_is_told_by_its_place() {
    let wrong = |header: &[u8]| match fault(header) {
        HeaderFault::WrongShape { place } => place,
        other => panic!("{other:?}"),
    };
    assert_eq!(wrong(br#"{"__metadata__":{"ss_epoch":3}}"#), "ss_epoch");
    assert_eq!(wrong(br#"{"__metadata__":[]}"#), "__metadata__");
    assert_eq!(wrong(br#"{"a":{"dtype":"F16"}}"#), "a");
    assert_eq!(wrong(br#"{"a":{"data_offsets":[2,1]}}"#), "a");
    assert_eq!(wrong(br#"{"a":{"data_offsets":[0,-1]}}"#), "a");
    assert_eq!(wrong(br#"{"a":{"data_offsets":[0]}}"#), "a");
    assert_eq!(wrong(br#"{"a":"b"}"#), "a");
    assert_eq!(
        fault(br#"{"a":{"data_offsets":[0,1,2]}}"#).word(),
        "header_not_json"
    );
    assert_eq!(fault(b"{a:1}"), HeaderFault::NotJson { at: 2 });
    assert_eq!(fault(br#"{"\q":1}"#).word(), "header_not_json");
    assert_eq!(fault(b"{\"a\n\":1}").word(), "header_not_json");
    let nothing = read_all(&file(br#"{"__metadata__":null}"#, 0)).unwrap();
    assert_eq!(nothing.metadata, BTreeMap::new());
}

#[test]
fn a_file_that_is_cut_or_goes_on_is_told_and_its_header_holds() {
    let header =
        json!({"__metadata__": {"ss_v2": "True"}, "a": tensor(0, 100), "b": tensor(100, 150)});
    let header = header.to_string();
    let with = |data_bytes| read_all(&file(header.as_bytes(), data_bytes)).unwrap();
    assert_eq!(with(150).data_fault, None);
    assert_eq!(
        with(60).data_fault,
        Some(HeaderFault::DataCut { missing_bytes: 90 })
    );
    assert_eq!(
        with(151).data_fault,
        Some(HeaderFault::DataTrailing { extra_bytes: 1 })
    );
    assert_eq!(with(60).metadata.len(), 1);
}

#[test]
fn what_lies_in_the_place_of_a_model_is_called_by_its_name() {
    for (bytes, what) in [
        (&b"<!DOCTYPE html><html>"[..], "a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "a pointer of Git LFS",
        ),
        (b"PK\x03\x04 and more", "a zip archive or a PyTorch pickle"),
    ] {
        assert_eq!(read_all(bytes), Err(HeaderFault::OtherContent { what }));
    }
}

/// Gives what it has and then fails.
struct Failing<'a>(&'a [u8], io::ErrorKind);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(self.1.into()),
            read => Ok(read),
        }
    }
}

#[test]
fn a_file_that_shrinks_or_fails_while_it_is_read_is_told() {
    let bytes = file(br#"{"__metadata__":{}}"#, 0);
    for end in 0..bytes.len() {
        let said = read(Format::Safetensors, &mut &bytes[..end], bytes.len() as u64);
        assert_eq!(said, Err(HeaderFault::Shrunk), "{end}");
        let mut failing = Failing(&bytes[..end], io::ErrorKind::PermissionDenied);
        let said = read(Format::Safetensors, &mut failing, bytes.len() as u64);
        assert_eq!(said.unwrap_err().word(), "file_unreadable", "{end}");
    }
}

#[test]
fn formats_are_told_by_the_ending_in_any_case_and_pickles_are_not_read() {
    for (path, format) in [
        ("a/b.SafeTensors", Some(Format::Safetensors)),
        ("b.sft", Some(Format::Safetensors)),
        ("b.gguf", Some(Format::Gguf)),
        ("b.ckpt", Some(Format::Pickle)),
        ("b.PT", Some(Format::Pickle)),
        ("b.pth", Some(Format::Pickle)),
        ("safetensors", None),
        (".safetensors", None),
        ("b.safetensors.part", None),
    ] {
        assert_eq!(Format::of_path(Path::new(path)), format, "{path}");
    }
    let mut failing = Failing(b"", io::ErrorKind::Other);
    assert_eq!(read(Format::Pickle, &mut failing, 9), Ok(Header::default()));
}

#[test]
fn the_kind_is_what_the_metadata_says_else_what_tensors_are_called() {
    let architecture = |word: &str| json!({"modelspec.architecture": word});
    for (metadata, tensor_name, stated) in [
        (
            json!({}),
            "lora_te1_text_model.lora_up.weight",
            Some(Stated::Lora),
        ),
        (
            json!({}),
            "transformer.single_transformer_blocks.0.lora_A.weight",
            Some(Stated::Lora),
        ),
        (
            json!({}),
            "double_blocks.0.processor.qkv_lora1.down.weight",
            Some(Stated::Lora),
        ),
        (json!({}), "unet.blocks.hada_w1_a", Some(Stated::Lora)),
        (json!({}), "unet.a.lokr_w1", Some(Stated::Lora)),
        (
            json!({}),
            "model.diffusion_model.out.weight",
            Some(Stated::Checkpoint),
        ),
        (
            json!({}),
            "double_blocks.0.img_attn",
            Some(Stated::Checkpoint),
        ),
        (json!({}), "first_stage_model.decoder", Some(Stated::Other)),
        (json!({}), "a", None),
        (
            json!({"ss_network_module": "networks.lora"}),
            "a",
            Some(Stated::Lora),
        ),
        (
            json!({"ss_network_module": "networks.control_net_lllite"}),
            "a",
            Some(Stated::Other),
        ),
        (
            architecture("Stable-Diffusion-XL-v1-Base/LoRA"),
            "a",
            Some(Stated::Lora),
        ),
        (
            architecture("stable-diffusion-v1/textual-inversion"),
            "lora_te",
            Some(Stated::Other),
        ),
        (architecture("flux-1-dev"), "a", Some(Stated::Checkpoint)),
        (architecture("None"), "a", None),
    ] {
        assert_eq!(
            with_metadata(&metadata, tensor_name).stated,
            stated,
            "{metadata} {tensor_name}"
        );
    }
}

proptest! {
    #[test]
    fn what_serde_json_takes_as_such_a_header_is_taken(
        metadata in prop::collection::btree_map("(ss_)?\\PC{0,12}", "\\PC{0,40}", 0..8),
        names in prop::collection::btree_set("\\PC{1,20}", 0..8),
    ) {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), json!(metadata));
        for name in &names {
            header.entry(name.clone()).or_insert_with(|| tensor(0, 4));
        }
        let text = serde_json::Value::Object(header).to_string();
        let read = read_all(&file(text.as_bytes(), 4)).unwrap();
        let wanted: BTreeMap<_, _> = metadata.into_iter().filter(|(name, _)| wanted(name)).collect();
        prop_assert_eq!(read.metadata, wanted);
    }
}

/// Changes of one input; with more of them hardly anything sound is left.
const EDITS_MAX: usize = 4;

/// Changes bytes as a generator asks: puts one in place, puts one in, takes one out, doubles what
/// follows or cuts it off.
pub(crate) fn edit(bytes: &mut Vec<u8>, edits: &[(u16, u8, u8)]) {
    for (at, what, byte) in edits.iter().take(EDITS_MAX) {
        let at = usize::from(*at) % (bytes.len() + 1);
        match what % 8 {
            0..3 if at < bytes.len() => bytes[at] = *byte,
            3 | 4 => bytes.insert(at, *byte),
            5 if at < bytes.len() => drop(bytes.remove(at)),
            6 if bytes.len() < 4096 => bytes.extend_from_within(at..),
            7 => bytes.truncate(at),
            _ => {}
        }
    }
}
