//! Any bytes in the place of a header. `BOLERO_RANDOM_ITERATIONS` sets how many are tried.

use super::*;
use crate::file_header::embedded;

/// Inputs that a plain test run tries.
const INPUTS: usize = 20_000;

const SOUND: &str = r#"{"__metadata__":{"ss_network_module":"networks.lora","ss_tag_frequency":"{\"10_a b\": {\"a\": 3}}","modelspec.title":"\u30cf\ud83d\ude00","ss_v2":"True"},"lora_unet_a.lora_up.weight":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}}"#;

fn try_out(format: Format, bytes: &[u8], size_bytes: u64) {
    let Ok(header) = read(format, &mut &bytes[..], size_bytes) else {
        return;
    };
    assert!(kept_bytes(&header) <= METADATA_BYTES_MAX.min(bytes.len()));
    for finding in embedded::findings(&header, true) {
        assert_ne!(finding.source(), crate::findings::Source::Manual);
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!()
        .with_iterations(INPUTS)
        .for_each(|bytes: &[u8]| {
            for format in [Format::Safetensors, Format::Gguf, Format::Pickle] {
                try_out(format, bytes, bytes.len() as u64);
                try_out(format, bytes, u64::MAX);
            }
            // As a header of the length that it says.
            try_out(Format::Safetensors, &file(bytes, 0), bytes.len() as u64 + 8);
            let gguf = [b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0", bytes].concat();
            try_out(Format::Gguf, &gguf, gguf.len() as u64);
        });
}

#[test]
fn a_sound_header_with_bytes_changed_is_read_or_refused() {
    let edits = bolero::generator::produce::<Vec<(u16, u8, u8)>>();
    bolero::check!()
        .with_iterations(INPUTS)
        .with_generator(edits)
        .for_each(|edits: &Vec<(u16, u8, u8)>| {
            let mut header = SOUND.as_bytes().to_vec();
            crate::file_header::tests::edit(&mut header, edits);
            // What is taken is JSON.
            if read_all(&file(&header, 4)).is_ok() {
                let text = std::str::from_utf8(&header).unwrap();
                serde_json::from_str::<serde::de::IgnoredAny>(text).unwrap();
            }
            try_out(
                Format::Safetensors,
                &file(&header, 4),
                header.len() as u64 + 12,
            );
        });
}
