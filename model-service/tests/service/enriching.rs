//! Asking Civitai about models, against a stand-in that is slow, wrong, cut, limited or silent.

mod answers;
mod fixture;
mod hashes;
mod keeping;
mod limits;
