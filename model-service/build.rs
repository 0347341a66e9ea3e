//! Makes cargo notice a new migration, which the embedding macro does not.

fn main() {
    println!("cargo::rerun-if-changed=../migrations/models");
}
