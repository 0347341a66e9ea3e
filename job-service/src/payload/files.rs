//! The names of the files that a DEDICATED server saves for an attempt, so
//! that a lost answer can be fetched (`forge/forge-api.md` §9.3, exchange
//! 14/05). What the files hold is checked elsewhere.

use serde_json::{Map, Value};

use super::{AttemptIdentity, ServerProfile};
use crate::job::Endpoint;
use crate::request::GenerationRequest;

/// The folder, below the server's own for samples, that all our files lie
/// in; an owner can find and clear them there.
pub const FILES_FOLDER: &str = "stablequeue";
/// Characters of the token that a file's name carries.
const TOKEN_PART_CHARS: usize = 12;

/// The beginning of the names of an attempt's files. Job and number tell an
/// owner what they are; the part of the token keeps the files of an attempt
/// apart from those of another with the same number, as after a restore.
#[must_use]
pub fn file_stem(attempt: &AttemptIdentity) -> String {
    let plain = |text: &str| -> String {
        let keep = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        text.chars()
            .map(|letter| if keep(letter) { letter } else { '_' })
            .collect()
    };
    let token = plain(&attempt.token);
    let token_part = &token[token.len().saturating_sub(TOKEN_PART_CHARS)..];
    format!("{}-{}-{token_part}", plain(&attempt.job_id), attempt.number)
}

/// Forge's pattern for the names. `[generation_number]` alone would lose the
/// text before it when there is one image, and `[seed]` alone would give
/// variations of one seed the same name.
pub(super) fn pattern(attempt: &AttemptIdentity) -> String {
    format!("{}-[seed]-[generation_number]", file_stem(attempt))
}

/// Where the images of an attempt lie on the server, in order; empty when it
/// saves none. Paths are absolute there or relative to its working folder.
#[must_use]
pub fn saved_file_paths(
    request: &GenerationRequest,
    seed: i64,
    profile: &ServerProfile,
    attempt: &AttemptIdentity,
) -> Vec<String> {
    if !profile.saves_files() {
        return Vec::new();
    }
    let folder = samples_folder(request.endpoint, &profile.baseline);
    let stem = file_stem(attempt);
    let images = request.expected_images();
    if images == 1 {
        return vec![format!("{folder}/{FILES_FOLDER}/{stem}-{seed}.png")];
    }
    (0_i64..)
        .take(images)
        .map(|at| {
            let seed = if request.varies_by_subseed() {
                seed
            } else {
                seed + at
            };
            format!("{folder}/{FILES_FOLDER}/{stem}-{seed}-{}.png", at + 1)
        })
        .collect()
}

/// The server's folder for samples of one call.
fn samples_folder(endpoint: Endpoint, baseline: &Map<String, Value>) -> &str {
    let option = |name: &str| {
        baseline
            .get(name)
            .and_then(Value::as_str)
            .filter(|folder| !folder.is_empty())
    };
    let (name, default) = match endpoint {
        Endpoint::Txt2img => ("outdir_txt2img_samples", "outputs/txt2img-images"),
        Endpoint::Img2img => ("outdir_img2img_samples", "outputs/img2img-images"),
    };
    option("outdir_samples")
        .or_else(|| option(name))
        .unwrap_or(default)
        .trim_end_matches(['/', '\\'])
}
