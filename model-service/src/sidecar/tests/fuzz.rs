//! Any bytes in the place of a sidecar. `BOLERO_RANDOM_ITERATIONS` sets how many are tried.

use super::*;
use crate::file_header::tests::edit;

/// Inputs that a plain test run tries.
const INPUTS: usize = 20_000;

/// Sidecars that are sound, one of each kind.
const SOUND: [&str; 6] = [
    r#"{"description":"d","sd version":"SDXL","activation text":"a","preferred weight":0.8,"sha256":"00"}"#,
    r#"{"file_name":"a","model_name":"A","sha256":"","civitai":{"id":1,"modelId":2,"trainedWords":["a"]},"usage_tips":"{\"strength\":1}"}"#,
    r#"{"ModelId":1,"ModelName":"A","VersionId":2,"Hashes":{"SHA256":"00"},"TrainedWords":["a"],"Source":0}"#,
    r#"{"id":1,"modelId":"2.0","baseModel":"Pony","files":[{"type":"Model","sizeKB":1.5,"hashes":{}}],"images":[{"url":"https://a"}]}"#,
    r#"{"id":1,"modelVersions":[{"id":2,"files":[]},{"id":3}]}"#,
    r#"{"id":"","modelId":"","files":[],"skeleton_file":true}"#,
];

fn try_out(bytes: &[u8]) {
    if let Some(finding) = read_text(bytes) {
        assert_eq!(finding.field(), Field::Description);
    }
    let Ok(sidecar) = read(bytes) else {
        return;
    };
    assert!(sidecar.claimed().count() <= bytes.len() / 64);
    let sidecars = [sidecar];
    for sha256 in [None, Some(&sha256_of_file(1))] {
        let weighed = weigh(&sidecars, sha256);
        assert!(
            weighed
                .findings
                .iter()
                .all(|finding| finding.source() == Source::Sidecar)
        );
        assert!(weighed.replaced.is_empty() || weighed.findings.is_empty());
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!().with_iterations(INPUTS).for_each(try_out);
}

#[test]
fn a_sound_sidecar_with_bytes_changed_is_read_or_refused() {
    bolero::check!()
        .with_iterations(INPUTS)
        .with_type::<(u8, Vec<(u16, u8, u8)>)>()
        .for_each(|(which, edits): &(u8, Vec<(u16, u8, u8)>)| {
            let mut bytes = SOUND[usize::from(*which) % SOUND.len()].as_bytes().to_vec();
            edit(&mut bytes, edits);
            try_out(&bytes);
        });
}
