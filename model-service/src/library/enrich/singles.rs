//! Owns the look-ups of single hashes and versions in an enrichment, and how many there may be.
//! Those in bulk are `round.rs`.

use service_kit::operations::Unfinished;

use super::Run;
use super::group::{Group, count};
use crate::civitai::{Answer, Version};
use crate::store::enrichment::Outcome;

impl Run {
    /// Asks about hashes that Civitai knows and of which it has shown no version in bulk.
    pub(super) async fn by_hash(&mut self, groups: Vec<Group>) -> Result<(), Unfinished> {
        let mut groups = groups.into_iter();
        for group in groups.by_ref().take(self.singles_left) {
            self.singles_left -= 1;
            let civitai = self.civitai.clone();
            let answer = self.ask(civitai.by_hash(&group.digits)).await?;
            self.take_in_one(group, answer).await?;
        }
        self.left += count(groups.as_slice());
        Ok(())
    }

    /// Asks about hashes that Civitai does not know, by the version that somebody said: it may know
    /// only the archive that the file was taken from.
    pub(super) async fn by_said_version(&mut self, groups: Vec<Group>) -> Result<(), Unfinished> {
        let mut groups = groups.into_iter();
        for group in groups.by_ref().take(self.singles_left) {
            self.singles_left -= 1;
            let civitai = self.civitai.clone();
            let version_id = group.said_version().unwrap_or_default();
            let answer = self.ask(civitai.version(version_id)).await?;
            self.take_in_one(group, answer).await?;
        }
        self.left += count(groups.as_slice());
        Ok(())
    }

    /// Asks about models of which only the AutoV2 is known.
    pub(super) async fn by_autov2(&mut self, groups: Vec<Group>) -> Result<(), Unfinished> {
        let mut groups = groups.into_iter();
        for group in groups.by_ref().take(self.autov2_left) {
            self.autov2_left -= 1;
            let civitai = self.civitai.clone();
            let answer = self.ask(civitai.by_hash(&group.digits)).await?;
            self.take_in_one(group, answer).await?;
        }
        self.left += count(groups.as_slice());
        Ok(())
    }

    async fn take_in_one(
        &mut self,
        group: Group,
        answer: Answer<Version>,
    ) -> Result<(), Unfinished> {
        if !matches!(answer, Answer::Trouble(_)) {
            self.no_answers_in_a_row = 0;
        }
        match answer {
            Answer::Found(version) => {
                let outcome: Outcome = self.found(&version, &group.digits);
                let kept = self.kept_found(&group, &version).into_iter().collect();
                self.settle(vec![group.settled(outcome)], kept).await
            }
            Answer::NotFound | Answer::NoFile => self.not_found(vec![group]).await,
            Answer::Trouble(trouble) => self.no_answer(vec![group], &trouble).await,
        }
    }
}
