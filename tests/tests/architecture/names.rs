//! Reads the paths that a Rust source names: those of `use` declarations, with
//! their braces opened, and those written out, with `crate`, `self`, `super`
//! and imported names resolved. Comments and texts name nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The module of a file below `src`, such as `crate::api::convert`.
pub(crate) fn module_path(file: &Path) -> String {
    let mut path = "crate".to_owned();
    for part in file.with_extension("").iter() {
        let part = part.to_str().unwrap();
        if !["lib", "main"].contains(&part) {
            path.push_str("::");
            path.push_str(part);
        }
    }
    path
}

/// Every path that the source of a module names.
pub(crate) fn names(source: &str, module: &str) -> BTreeSet<String> {
    let tokens = tokens(source);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        modules: vec![module.to_owned()],
        depths: Vec::new(),
        depth: 0,
        imports: BTreeMap::new(),
        found: BTreeSet::new(),
        written: Vec::new(),
    };
    reader.read();
    reader.resolved()
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    /// `::`.
    Path,
    Sign(char),
}

/// The words and signs of a source, without comments and texts.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().take_while(|c| **c != '\n').count(),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => text(rest),
            ['\'', ..] => letter(rest),
            [':', ':', ..] => {
                tokens.push(Token::Path);
                2
            }
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let word = |c: &&char| c.is_alphanumeric() || **c == '_';
                let word: String = rest.iter().take_while(word).collect();
                let length = word.chars().count();
                let raw = raw_text(&word, &rest[length..]);
                if raw == 0 {
                    tokens.push(Token::Word(word));
                }
                length + raw
            }
            [c, ..] if c.is_whitespace() => 1,
            [c, ..] => {
                tokens.push(Token::Sign(*c));
                1
            }
            [] => 1,
        };
    }
    tokens
}

fn block_comment(rest: &[char]) -> usize {
    let (mut at, mut open) = (2, 1);
    while open > 0 && at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (at, open) = (at + 2, open + 1),
            ['*', '/', ..] => (at, open) = (at + 2, open - 1),
            _ => at += 1,
        }
    }
    at
}

fn text(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// A character, or only the quote of a lifetime.
fn letter(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', ..] => 3 + rest[3..].iter().take_while(|c| **c != '\'').count(),
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

/// The length of a raw text that begins after a prefix such as `r` or `br`; 0
/// when none does.
fn raw_text(prefix: &str, rest: &[char]) -> usize {
    if !["r", "br", "cr"].contains(&prefix) {
        return 0;
    }
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let body = &rest[hashes + 1..];
    let length = body
        .windows(end.len())
        .position(|window| window == end)
        .unwrap();
    hashes + 1 + length + end.len()
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The module of the file and the ones opened inside it.
    modules: Vec<String>,
    /// How deep in braces each module inside the file was opened.
    depths: Vec<usize>,
    depth: usize,
    /// What an imported name stands for.
    imports: BTreeMap<String, String>,
    found: BTreeSet<String>,
    /// Paths as they are written, with the module they are written in.
    written: Vec<(Vec<String>, String)>,
}

impl Reader<'_> {
    fn peek(&self, further: usize) -> Option<&Token> {
        self.tokens.get(self.at + further)
    }

    fn word(&self, further: usize) -> Option<&str> {
        match self.peek(further) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn module(&self) -> String {
        self.modules.last().unwrap().clone()
    }

    fn read(&mut self) {
        while self.at < self.tokens.len() {
            match self.tokens[self.at].clone() {
                Token::Word(word) if word == "use" && self.peek(1) != Some(&Token::Sign('<')) => {
                    self.at += 1;
                    self.tree(&[]);
                }
                Token::Word(word) if word == "mod" && self.peek(2) == Some(&Token::Sign('{')) => {
                    let inner = format!("{}::{}", self.module(), self.word(1).unwrap_or("_"));
                    self.modules.push(inner);
                    self.depths.push(self.depth);
                    self.at += 2;
                }
                Token::Word(_) => self.written_path(),
                Token::Sign('{') => {
                    self.depth += 1;
                    self.at += 1;
                }
                Token::Sign('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depths.last() == Some(&self.depth) {
                        self.depths.pop();
                        self.modules.pop();
                    }
                    self.at += 1;
                }
                Token::Sign('#') => self.attribute(),
                _ => self.at += 1,
            }
        }
    }

    /// An attribute such as `#[diesel(…)]` names its library with one word.
    fn attribute(&mut self) {
        self.at += 1;
        if self.peek(0) == Some(&Token::Sign('[')) {
            self.at += 1;
            if let Some(word) = self.word(0) {
                self.written.push((vec![word.to_owned()], self.module()));
            }
        }
    }

    fn written_path(&mut self) {
        let mut path = Vec::new();
        while let Some(word) = self.word(0) {
            path.push(word.to_owned());
            self.at += 1;
            if self.peek(0) != Some(&Token::Path) || self.word(1).is_none() {
                break;
            }
            self.at += 1;
        }
        if path.len() > 1 {
            self.written.push((path, self.module()));
        }
    }

    /// One branch of a `use`, up to its `,`, `}` or `;`.
    fn tree(&mut self, above: &[String]) {
        let mut path = above.to_vec();
        loop {
            match self.peek(0).cloned() {
                Some(Token::Word(word)) if word == "as" => {
                    let name = self.word(1).unwrap_or("_").to_owned();
                    self.at += 2;
                    return self.import(&path, Some(name));
                }
                Some(Token::Word(word)) => {
                    path.push(word);
                    self.at += 1;
                }
                Some(Token::Path) => self.at += 1,
                Some(Token::Sign('*')) => {
                    self.at += 1;
                    path.push("*".to_owned());
                }
                Some(Token::Sign('{')) => {
                    self.at += 1;
                    while self.peek(0) != Some(&Token::Sign('}')) {
                        self.tree(&path);
                        if self.peek(0) == Some(&Token::Sign(',')) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                _ => return self.import(&path, None),
            }
        }
    }

    fn import(&mut self, path: &[String], name: Option<String>) {
        let mut path = path.to_vec();
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let Some(last) = path.last().cloned() else {
            return;
        };
        let full = absolute(&path, &self.module());
        self.imports.insert(name.unwrap_or(last), full.clone());
        self.found.insert(full);
    }

    fn resolved(mut self) -> BTreeSet<String> {
        for (mut path, module) in std::mem::take(&mut self.written) {
            if let Some(import) = self.imports.get(&path[0]) {
                path.splice(0..1, import.split("::").map(str::to_owned));
            }
            self.found.insert(absolute(&path, &module));
        }
        self.found
    }
}

/// A path from the root: `crate`, `self` and `super` resolved.
fn absolute(path: &[String], module: &str) -> String {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut rest = path;
    let mut inside = false;
    while let Some(first) = rest.first() {
        match first.as_str() {
            "crate" => base.truncate(1),
            "super" if base.len() > 1 => base.truncate(base.len() - 1),
            "self" | "super" => {}
            _ => break,
        }
        inside = true;
        rest = &rest[1..];
    }
    let mut parts: Vec<&str> = if inside { base } else { Vec::new() };
    parts.extend(rest.iter().map(String::as_str));
    parts.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<String> {
        names(source, "crate::api::convert").into_iter().collect()
    }

    #[test]
    fn braces_of_a_use_are_opened() {
        let source = "pub use crate::{job::{self, Job as J}, store::*}; use diesel;";
        let expected = ["crate::job", "crate::job::Job", "crate::store::*", "diesel"];
        assert_eq!(found(source), expected);
    }

    #[test]
    fn paths_written_out_are_found_wherever_they_stand() {
        let source = "fn f(x: Vec<tonic::Status>) { crate::store::get(&super::super::a::b()) }";
        let expected = ["crate::a::b", "crate::store::get", "tonic::Status"];
        assert_eq!(found(source), expected);
    }

    #[test]
    fn a_name_that_was_imported_stands_for_what_it_is() {
        let source = "use crate as root; fn f() { root::store::get() }";
        assert_eq!(found(source), ["crate", "crate::store::get"]);
    }

    #[test]
    fn super_inside_a_module_of_the_file_is_the_file() {
        let source = "mod tests { use super::*; } use super::other;";
        assert_eq!(
            found(source),
            ["crate::api::convert::*", "crate::api::other"]
        );
    }

    #[test]
    fn attributes_name_their_library() {
        let source = "#[diesel(table_name = jobs)] struct R; #[tokio::test] fn f() {}";
        assert!(found(source).contains(&"diesel".to_owned()));
        assert!(found(source).contains(&"tokio::test".to_owned()));
    }

    #[test]
    fn comments_texts_and_letters_name_nothing() {
        let source = r##"
            // diesel::a
            /* diesel::b /* diesel::c */ */
            const A: &str = "diesel::d \" diesel::e";
            const B: &str = r#"diesel::f " diesel::g"#;
            const C: [char; 2] = ['"', '\''];
            fn f<'a>(x: &'a str) -> &'a str { g::h(x) }
        "##;
        assert_eq!(found(source), ["g::h"]);
    }
}
