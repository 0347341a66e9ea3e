//! Owns how well a model fits on one server, and whether the hashes of the
//! registry are those of the files there. How names and hashes compare is
//! `reference.rs`.

use super::{FileOnServer, KnownModel};
use crate::model::ModelKind;
use crate::names;
use crate::reference::{Candidate, FileNames, Fit, Reference};

impl KnownModel {
    /// How well it fits, as far as that server has it.
    pub(super) fn fit_on(&self, reference: &Reference, server: &str) -> Option<Fit> {
        let files: Vec<FileNames<'_>> = self.files_on(server).map(FileOnServer::names).collect();
        let of_registry = self.candidate();
        let candidate = match self.has_its_hashes(server) {
            true => of_registry,
            false => Candidate {
                sha256: None,
                autov2: None,
                autov3: None,
                ..of_registry
            },
        };
        reference.fit(&Candidate {
            files: &files,
            registry: self.registry_names(),
            registry_filename: &self.filename,
            ..candidate
        })
    }

    /// Whether what a server has of it has the hashes of the registry. Where the
    /// library computed them and the server shows none, only a file at the same
    /// path has: one that goes by the same name may be another.
    fn has_its_hashes(&self, server: &str) -> bool {
        let Some(hashed_at) = &self.hashed_at else {
            return true;
        };
        let is_same = |file: &FileOnServer| {
            let path = names::with_slashes(&file.path);
            let of_others = self.files.iter().filter(|it| it.shows_hash(self.kind));
            !path.is_empty()
                && (hashed_at.contains(&path)
                    || of_others.map(|it| &it.path).any(|it| *it == file.path))
        };
        let mut files = self.files_on(server).peekable();
        // Without a file, somebody said that the server has this very model.
        files.peek().is_none() || files.any(|file| file.shows_hash(self.kind) || is_same(file))
    }
}

impl FileOnServer {
    /// Whether the server itself knows its hash, or the beginning of it.
    fn shows_hash(&self, kind: ModelKind) -> bool {
        let in_title = || names::split_title(&self.title).1.is_some();
        self.sha256.is_some() || (kind == ModelKind::Checkpoint && in_title())
    }
}
