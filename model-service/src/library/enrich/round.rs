//! Owns one round of an enrichment: kept answers, then look-ups in bulk. What these leave open is
//! `singles.rs`.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use service_kit::operations::Unfinished;
use service_kit::status::Failure;

use super::Run;
use super::ends::Reached;
use super::group::{Group, count};
use crate::civitai::{Answer, HASHES_AT_ONCE_MAX, IDS_AT_ONCE_MAX, Trouble, Version, version};
use crate::findings::{Field, Finding, Source};
use crate::library::kept_answers;
use crate::model::Sha256;
use crate::store;
use crate::store::civitai_answers::NewAnswer;
use crate::store::enrichment::{Outcome, Settled};

/// Models of which one command writes that Civitai does not know them.
const NOT_FOUND_AT_ONCE_MAX: usize = 500;

/// The versions that have a file with a hash, by its digits.
type Known = HashMap<String, Vec<String>>;

impl Run {
    /// Asks about some models, at most [`IDS_AT_ONCE_MAX`].
    pub(super) async fn round(&mut self, groups: Vec<Group>) -> Result<(), Unfinished> {
        let open = self.take_kept_answers(groups).await?;
        if self.civitai.offline() {
            self.offline += count(&open);
            return Ok(());
        }
        let (whole, begun): (Vec<_>, Vec<_>) = open.into_iter().partition(Group::is_whole);
        let known = self.known(&whole).await?;
        let (mut asked, mut unknown, mut said) = (Vec::new(), Vec::new(), Vec::new());
        for group in whole {
            let is_known = known
                .as_ref()
                .is_none_or(|known| known.contains_key(&group.digits));
            match (is_known, group.said_version()) {
                (true, _) => asked.push(group),
                (false, Some(_)) => said.push(group),
                (false, None) => unknown.push(group),
            }
        }
        self.not_found(unknown).await?;
        let (known, mut open) = (known.unwrap_or_default(), Vec::new());
        while !asked.is_empty() {
            let rest = asked.split_off(asked.len().min(HASHES_AT_ONCE_MAX));
            open.extend(self.in_bulk(asked, &known).await?);
            asked = rest;
        }
        self.by_hash(open).await?;
        self.by_said_version(said).await?;
        self.by_autov2(begun).await
    }

    /// Settles what kept answers say; what is left has none that may be used.
    async fn take_kept_answers(&mut self, groups: Vec<Group>) -> Result<Vec<Group>, Unfinished> {
        let questions: Vec<String> = groups.iter().map(Group::question).collect();
        let now = self.now();
        let read = self
            .library
            .ledger()
            .read("kept_civitai_answers", move |connection| {
                Ok(store::civitai_answers::kept(connection, &questions, now)?)
            });
        let kept = read.await.map_err(Failure::from)?;
        // One that was asked anew is used when this very operation goes on after a restart.
        let oldest = match self.refresh {
            true => self.steps.asked_at(),
            false => DateTime::<Utc>::MIN_UTC,
        };
        let (mut open, mut found, mut not_found) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups {
            match kept.get(&group.question()) {
                Some(kept) if kept.asked_at < oldest => open.push(group),
                Some(kept) if kept.found => found.push(group),
                Some(_) => not_found.push(group),
                None => open.push(group),
            }
        }
        while !found.is_empty() {
            let rest = found.split_off(found.len().min(HASHES_AT_ONCE_MAX));
            open.extend(self.read_texts(found).await?);
            found = rest;
        }
        self.report.count("from_kept_answers", count(&not_found));
        let (said, unsaid): (Vec<_>, Vec<_>) =
            not_found.into_iter().partition(Group::known_unknown);
        // Nothing would change in these.
        self.report.count("not_found", count(&said));
        self.done += count(&said);
        for part in unsaid.chunks(NOT_FOUND_AT_ONCE_MAX) {
            let settled = part.iter().map(|group| group.settled(Outcome::NotFound));
            self.settle(settled.collect(), Vec::new()).await?;
        }
        self.reach()?;
        Ok(open)
    }

    /// Settles groups whose answers are kept; what is left has one that cannot be read.
    async fn read_texts(&mut self, groups: Vec<Group>) -> Result<Vec<Group>, Unfinished> {
        let questions: Vec<String> = groups.iter().map(Group::question).collect();
        let read = self
            .library
            .ledger()
            .read("civitai_answer_texts", move |connection| {
                Ok(store::civitai_answers::texts(connection, &questions)?)
            });
        let texts = read.await.map_err(Failure::from)?;
        let (mut open, mut settled) = (Vec::new(), Vec::new());
        for group in groups {
            let text = texts.get(&group.question());
            let json = text.and_then(|text| serde_json::from_str(text).ok());
            match json.and_then(Version::read) {
                Some(version) => settled.push(group.settled(self.found(&version, &group.digits))),
                None => open.push(group),
            }
        }
        let models = settled.iter().map(|settled| settled.model_ids.len() as u64);
        self.report.count("from_kept_answers", models.sum());
        self.settle(settled, Vec::new()).await?;
        Ok(open)
    }

    /// Which hashes Civitai knows; `None` when it cannot tell, so that all are to be asked.
    async fn known(&mut self, groups: &[Group]) -> Result<Option<Known>, Unfinished> {
        let mut known = Known::new();
        for part in groups.chunks(IDS_AT_ONCE_MAX) {
            let hashes: Vec<Sha256> = part.iter().filter_map(Group::sha256).collect();
            let civitai = self.civitai.clone();
            match self.ask(civitai.ids(&hashes)).await? {
                Answer::Found(rows) => {
                    for row in rows {
                        let versions = known.entry(row.sha256.as_str().to_owned());
                        versions.or_default().push(row.version_id);
                    }
                }
                // One that stands in for Civitai may not have this look-up.
                Answer::NotFound | Answer::NoFile => return Ok(None),
                Answer::Trouble(trouble) => {
                    self.end_if_it_must(&trouble)?;
                    tracing::info!(%trouble, "Civitai's ids were not had; asking for versions");
                    return Ok(None);
                }
            }
        }
        Ok(Some(known))
    }

    /// Asks for versions; what is left is open after all.
    async fn in_bulk(
        &mut self,
        groups: Vec<Group>,
        known: &Known,
    ) -> Result<Vec<Group>, Unfinished> {
        let (mut open, mut parts) = (Vec::new(), vec![groups]);
        while let Some(mut part) = parts.pop() {
            let hashes: Vec<Sha256> = part.iter().filter_map(Group::sha256).collect();
            let civitai = self.civitai.clone();
            match self.ask(civitai.by_hashes(&hashes)).await? {
                Answer::Found(versions) => {
                    self.no_answers_in_a_row = 0;
                    open.extend(self.take_in(part, &versions, known).await?);
                }
                // A look-up in bulk has an answer for each hash: so it is not Civitai who speaks.
                // What each hash is, is asked one by one.
                Answer::NotFound | Answer::NoFile => open.extend(part),
                Answer::Trouble(trouble) => {
                    let may_split = part.len() > 1 && self.splits_left > 0;
                    if may_split && is_of_this_request(&trouble) {
                        self.splits_left -= 1;
                        parts.push(part.split_off(part.len() / 2));
                        parts.push(part);
                    } else {
                        self.no_answer(part, &trouble).await?;
                    }
                }
            }
        }
        Ok(open)
    }

    /// Settles what versions say of groups; what is left has none of them.
    async fn take_in(
        &mut self,
        groups: Vec<Group>,
        versions: &[Version],
        known: &Known,
    ) -> Result<Vec<Group>, Unfinished> {
        let (mut open, mut settled, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        let found = Found::of(versions);
        let all_fit = found.all_fit(&groups);
        for group in groups {
            let ids = known
                .get(&group.digits)
                .map(Vec::as_slice)
                .unwrap_or_default();
            match version::chosen(found.fitting(&group.digits, ids), &group.digits) {
                Some(version) => {
                    settled.push(group.settled(self.found(version, &group.digits)));
                    answers.extend(self.kept_found(&group, version));
                }
                // Without ids nothing says that there is one, unless it is among those that name
                // no hash that was asked for.
                None if ids.is_empty() && all_fit => {
                    settled.push(group.settled(Outcome::NotFound));
                    answers.push(self.kept_not_found(&group));
                }
                None => open.push(group),
            }
        }
        self.settle(settled, answers).await?;
        Ok(open)
    }

    /// Settles groups that Civitai does not know.
    pub(super) async fn not_found(&mut self, groups: Vec<Group>) -> Result<(), Unfinished> {
        for part in groups.chunks(NOT_FOUND_AT_ONCE_MAX) {
            let settled = part.iter().map(|group| group.settled(Outcome::NotFound));
            let answers = part.iter().map(|group| self.kept_not_found(group));
            let (settled, answers): (Vec<Settled>, Vec<NewAnswer>) =
                (settled.collect(), answers.collect());
            self.settle(settled, answers).await?;
        }
        Ok(())
    }

    /// Notes at groups that no answer was had; ends the enrichment when that goes on.
    pub(super) async fn no_answer(
        &mut self,
        groups: Vec<Group>,
        trouble: &Trouble,
    ) -> Result<(), Unfinished> {
        self.end_if_it_must(trouble)?;
        let words = trouble.to_string();
        for model in groups.iter().flat_map(|group| &group.models) {
            self.report
                .problem(&model.path, "CIVITAI_NO_ANSWER", &words);
        }
        let settled = groups
            .iter()
            .map(|group| group.settled(Outcome::NoAnswer(words.clone())));
        self.settle(settled.collect(), Vec::new()).await?;
        self.no_answers_in_a_row += 1;
        if self.no_answers_in_a_row >= super::NO_ANSWERS_IN_A_ROW_MAX {
            return Err(self.reached().unavailable(trouble).into());
        }
        Ok(())
    }

    fn end_if_it_must(&self, trouble: &Trouble) -> Result<(), Unfinished> {
        match self.reached().end(trouble) {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    fn reached(&self) -> Reached {
        Reached {
            done: self.done,
            total: self.total.max(self.done),
            now: self.now(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.library.clock().now()
    }

    /// What a version says of the file with these first digits of its SHA-256.
    pub(super) fn found(&self, version: &Version, digits: &str) -> Outcome {
        let mut findings = version.findings(Source::Civitai, Some(digits));
        findings.extend(self.download_url(version, digits));
        Outcome::Found {
            findings,
            matched_by: version.matched_by(digits),
        }
    }

    /// Where that file is, as far as it can be downloaded.
    fn download_url(&self, version: &Version, digits: &str) -> Option<Finding> {
        if !version.downloadable() {
            return None;
        }
        let file = version.file_of(digits).or_else(|| version.model_file())?;
        let file_id = file.id.as_deref().filter(|_| !file.primary);
        let url = self.civitai.download_url(version.id(), file_id);
        Finding::text(Field::CivitaiDownloadUrl, url.as_str(), Source::Civitai)
    }

    /// An answer to be used again; `None` for one that is too long to be kept.
    pub(super) fn kept_found(&self, group: &Group, version: &Version) -> Option<NewAnswer> {
        kept_answers::found(&self.civitai, group.question(), version, self.now())
    }

    pub(super) fn kept_not_found(&self, group: &Group) -> NewAnswer {
        kept_answers::not_found(&self.civitai, group.question(), self.now())
    }
}

/// The versions of one answer, by what finds them.
struct Found<'a> {
    by_id: HashMap<&'a str, &'a Version>,
    by_sha256: HashMap<String, Vec<&'a Version>>,
}

impl<'a> Found<'a> {
    fn of(versions: &'a [Version]) -> Self {
        let by_id = versions.iter().map(|version| (version.id(), version));
        let mut by_sha256: HashMap<String, Vec<&Version>> = HashMap::new();
        for version in versions {
            let files = version.files().into_iter();
            for sha256 in files.filter_map(|file| file.sha256) {
                let digits = sha256.as_str().to_owned();
                by_sha256.entry(digits).or_default().push(version);
            }
        }
        Self {
            by_id: by_id.collect(),
            by_sha256,
        }
    }

    /// Whether each version has a file with a hash that was asked for.
    fn all_fit(&self, groups: &[Group]) -> bool {
        let asked = groups.iter().map(|group| &group.digits);
        let having = asked.filter_map(|digits| self.by_sha256.get(digits));
        let fitting: HashSet<&str> = having.flatten().map(|version| version.id()).collect();
        self.by_id.keys().all(|id| fitting.contains(id))
    }

    /// Those that have a file with this hash, and those that are known to have had one.
    fn fitting(&self, digits: &str, ids: &[String]) -> impl Iterator<Item = &'a Version> {
        let known = ids.iter().filter_map(|id| self.by_id.get(id.as_str()));
        let having = self.by_sha256.get(digits).into_iter().flatten();
        known.chain(having).copied()
    }
}

/// Whether other hashes in the same request may be answered.
fn is_of_this_request(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::OwnFault { .. } | Trouble::TooLarge { .. })
}
