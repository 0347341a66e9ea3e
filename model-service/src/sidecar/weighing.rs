//! Owns the order in which sidecars are believed, and which of them were written for another
//! file. It does not know whose findings are written in the end.

use super::{Part, Sidecar};
use crate::file_header::Stated;
use crate::findings::{Field, Finding, Value};
use crate::model::Sha256;

/// What the sidecars of a file say together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weighed {
    /// The findings, the most believed first.
    pub findings: Vec<Finding>,
    /// What the most believed one says that the file is, for files that do not say so themselves.
    pub stated: Option<Stated>,
    /// Which sidecars were written for a file with another SHA-256, by their place in the list;
    /// nothing of them is among the findings.
    pub replaced: Vec<usize>,
    /// Which sidecars say for which SHA-256 they were written, while that of the file is not known
    /// yet. Their findings come last.
    pub unproven: Vec<usize>,
}

/// How a sidecar fits a file, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It names the file's SHA-256.
    Proven,
    /// It names none.
    Silent,
    /// It names one, but that of the file is not known.
    Unproven,
}

/// What of these sidecars is to be believed of a file with this SHA-256: first what names it, then
/// what names none, which people typed, then what may be for another file.
pub fn weigh(sidecars: &[Sidecar], sha256: Option<&Sha256>) -> Weighed {
    let mut weighed = Weighed::default();
    let mut believed = Vec::new();
    for (place, sidecar) in sidecars.iter().enumerate() {
        let fitting = sidecar
            .parts
            .iter()
            .filter_map(|part| Some((fit(part, sha256)?, part)));
        let best = fitting.min_by_key(|(fit, _)| *fit);
        match best {
            // Which of several versions it is, only the hash can tell.
            Some((fit, part)) if fit == Fit::Proven || sidecar.parts.len() == 1 => {
                believed.push((fit, sidecar.kind, part));
                if fit == Fit::Unproven {
                    weighed.unproven.push(place);
                }
            }
            Some(_) => weighed.unproven.push(place),
            None if sidecar.parts.is_empty() => {}
            None => weighed.replaced.push(place),
        }
    }
    believed.sort_by_key(|(fit, kind, _)| (*fit, *kind));
    let findings = believed.into_iter().flat_map(|(_, _, part)| &part.findings);
    weighed.findings = findings.cloned().collect();
    weighed.stated = weighed.findings.iter().find_map(stated);
    weighed
}

/// What Civitai's word for the kind of a model means for the registry.
fn stated(finding: &Finding) -> Option<Stated> {
    match (finding.field(), finding.value()) {
        (Field::CivitaiModelType, Value::Text(word)) => {
            Some(match word.to_ascii_lowercase().as_str() {
                "checkpoint" => Stated::Checkpoint,
                "lora" | "locon" | "dora" => Stated::Lora,
                _ => Stated::Other,
            })
        }
        _ => None,
    }
}

/// `None` when it is for another file.
fn fit(part: &Part, sha256: Option<&Sha256>) -> Option<Fit> {
    let claimed = &part.claims.sha256;
    match sha256 {
        _ if claimed.is_empty() => Some(Fit::Silent),
        None => Some(Fit::Unproven),
        Some(sha256) => claimed.contains(sha256).then_some(Fit::Proven),
    }
}
