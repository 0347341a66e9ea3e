//! Owns how many found files are settled at once: at most so many, and not much
//! more than so many bytes of what they say. Pure.

use super::{BATCH_BYTES, BATCH_FILES};
use crate::findings::{Finding, Value};
use crate::library::settle::Item;

/// Found files that are not settled yet.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    bytes: usize,
}

impl Batch {
    /// Adds a file; all of them when that is enough.
    pub(super) fn add(&mut self, item: Item) -> Option<Vec<Item>> {
        self.bytes += item.findings.iter().map(bytes).sum::<usize>();
        self.items.push(item);
        let is_full = self.items.len() >= BATCH_FILES || self.bytes >= BATCH_BYTES;
        is_full.then(|| self.take())
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Vec<Item> {
        std::mem::take(self).items
    }
}

/// The bytes of the texts of a finding.
fn bytes(finding: &Finding) -> usize {
    match finding.value() {
        Value::Text(text) => text.len(),
        Value::Words(words) => words.iter().map(String::len).sum(),
        Value::Number(_) | Value::Integer(_) | Value::Flag(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Field, Source, TEXT_BYTES_MAX};
    use crate::library::settle::tests::item;

    fn saying(text: &str) -> Item {
        let finding = Finding::text(Field::Notes, text, Source::Sidecar);
        Item {
            findings: finding.into_iter().collect(),
            ..item()
        }
    }

    fn until_full(batch: &mut Batch, text: &str) -> usize {
        let full = (0..=BATCH_FILES).find_map(|_| batch.add(saying(text)));
        full.map_or(0, |items| items.len())
    }

    #[test]
    fn a_batch_is_full_by_its_files_or_by_what_they_say() {
        let mut batch = Batch::default();
        assert_eq!(until_full(&mut batch, "short"), BATCH_FILES);
        let long = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(until_full(&mut batch, &long), BATCH_BYTES / TEXT_BYTES_MAX);
        // Nothing of the one before counts.
        assert_eq!(until_full(&mut batch, "short"), BATCH_FILES);
        assert!(batch.add(saying("rest")).is_none());
        assert_eq!((batch.take().len(), batch.take().len()), (1, 0));
    }
}
