//! Where Forge saves pictures: filename patterns with their traps, numbering, and the write itself
//! (exchange 14/05 and forge/forge-api.md, section 8).

use std::{
    io,
    path::{Path, PathBuf},
};

use chrono::Local;

/// Forge gives up after this many taken numbers.
const NUMBER_TRIES: u64 = 500;

/// What the patterns can name.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    pub(crate) seed: i128,
    pub(crate) steps: i64,
    pub(crate) cfg: f64,
    pub(crate) width: i64,
    pub(crate) height: i64,
    pub(crate) sampler: String,
    pub(crate) scheduler: String,
    pub(crate) model_name: String,
    pub(crate) model_hash: String,
    pub(crate) prompt: String,
    pub(crate) job_timestamp: String,
    /// Number of the image in its job from 1; `None` when the job has only one, which drops the text before it.
    pub(crate) generation_number: Option<u64>,
    /// The same within its batch.
    pub(crate) batch_number: Option<u64>,
}

/// The options that decide a path.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// Output folder below the data folder.
    pub(crate) folder: PathBuf,
    pub(crate) file_pattern: String,
    pub(crate) directory_pattern: Option<String>,
    pub(crate) add_number: bool,
    /// "" for samples, "grid" for grids.
    pub(crate) base: &'static str,
}

enum Part {
    Text(String),
    /// The text in front of the pattern is dropped too: Forge's `NOTHING_AND_SKIP_PREVIOUS_TEXT`.
    SkipWithPrevious,
    Unknown,
}

impl Naming {
    /// Fills a pattern in.
    pub(crate) fn apply(&self, pattern: &str) -> String {
        let mut result = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('[') {
            let Some((name, tail)) = after.split_once(']') else {
                break;
            };
            match self.part(name) {
                Part::Text(text) => result.extend([before, &text]),
                Part::SkipWithPrevious => {}
                Part::Unknown => result.extend([before, "[", name, "]"]),
            }
            rest = tail;
        }
        result + rest
    }

    fn part(&self, name: &str) -> Part {
        let numbered = |number: Option<u64>| match number {
            Some(number) => Part::Text(number.to_string()),
            None => Part::SkipWithPrevious,
        };
        Part::Text(match name.to_lowercase().as_str() {
            "seed" => self.seed.to_string(),
            "steps" => self.steps.to_string(),
            "cfg" => crate::infotext::python_float(self.cfg),
            "width" => self.width.to_string(),
            "height" => self.height.to_string(),
            "sampler" => safe(&self.sampler),
            "scheduler" => safe(&self.scheduler),
            "model_name" => safe(&self.model_name),
            "model_hash" => self.model_hash.clone(),
            "prompt" => safe(&self.prompt),
            "prompt_spaces" => safe(&self.prompt).replace('_', " "),
            "job_timestamp" => self.job_timestamp.clone(),
            "date" => Local::now().format("%Y-%m-%d").to_string(),
            "datetime" => Local::now().format("%Y%m%d%H%M%S").to_string(),
            "generation_number" => return numbered(self.generation_number),
            "batch_number" => return numbered(self.batch_number),
            _ => return Part::Unknown,
        })
    }
}

/// File name characters only, at most 128 of them.
fn safe(text: &str) -> String {
    const MAX_CHARS: usize = 128;
    let replaced = text.chars().map(|character| match character {
        '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\n' | '\r' | '\t' | ' ' => '_',
        other => other,
    });
    replaced
        .take(MAX_CHARS)
        .collect::<String>()
        .trim_matches(['.', '_'])
        .to_owned()
}

/// Path of the file for one picture, not existing yet unless numbers are off (then it is replaced).
pub(crate) fn place(root: &Path, placement: &Placement, naming: &Naming) -> io::Result<PathBuf> {
    let mut folder = root.join(below(&placement.folder));
    if let Some(pattern) = &placement.directory_pattern {
        let name = naming.apply(pattern);
        folder.push(below(Path::new(
            name.trim_start().trim_end_matches(['\\', '/', ' ']),
        )));
    }
    std::fs::create_dir_all(&folder)?;
    let decoration = naming.apply(&placement.file_pattern).replace('/', "_");
    if !placement.add_number && !decoration.is_empty() {
        return Ok(folder.join(format!("{decoration}.png")));
    }
    let decoration = if decoration.is_empty() {
        decoration
    } else {
        format!("-{decoration}")
    };
    let first = next_number(&folder, placement.base)?;
    let named = |number: u64| match placement.base {
        "" => folder.join(format!("{number:05}{decoration}.png")),
        base => folder.join(format!("{base}-{number:04}{decoration}.png")),
    };
    let free = (first..first + NUMBER_TRIES)
        .map(named)
        .find(|path| !path.exists());
    free.ok_or_else(|| io::Error::new(io::ErrorKind::AlreadyExists, "no free file number"))
}

/// A path without parts that would leave the data folder.
fn below(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}

fn next_number(folder: &Path, base: &str) -> io::Result<u64> {
    let mut next = 0;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(base) else {
            continue;
        };
        let digits = rest
            .trim_start_matches('-')
            .split(['-', '.'])
            .next()
            .unwrap_or_default();
        if let Ok(number) = digits.parse::<u64>() {
            next = next.max(number + 1);
        }
    }
    Ok(next)
}

/// Writes as Forge does: a `.tmp` beside it first, then renamed.
pub(crate) async fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    tokio::fs::write(&temporary, bytes).await?;
    tokio::fs::rename(&temporary, path).await
}

#[cfg(test)]
mod tests {
    use super::Naming;

    fn naming(generation_number: Option<u64>) -> Naming {
        Naming {
            seed: 7,
            steps: 20,
            cfg: 7.0,
            width: 64,
            height: 64,
            sampler: "Euler a".to_owned(),
            scheduler: "Karras".to_owned(),
            model_name: "m".to_owned(),
            model_hash: "0123456789".to_owned(),
            prompt: "a cat".to_owned(),
            job_timestamp: "20260101000000".to_owned(),
            generation_number,
            batch_number: None,
        }
    }

    #[test]
    fn a_single_image_loses_the_text_in_front_of_its_number() {
        assert_eq!(naming(None).apply("A-[generation_number]"), "");
        assert_eq!(naming(None).apply("id-[seed]-[generation_number]"), "id-7");
        assert_eq!(
            naming(Some(2)).apply("id-[seed]-[generation_number]"),
            "id-7-2"
        );
    }

    #[test]
    fn unknown_patterns_stay_as_they_are() {
        assert_eq!(naming(None).apply("x[nope]y[Seed]z"), "x[nope]y7z");
        assert_eq!(naming(None).apply("x[open"), "x[open");
    }
}
