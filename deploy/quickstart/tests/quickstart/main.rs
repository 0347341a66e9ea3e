//! The real program on a folder of its own: what it says, and what it leaves
//! on disk.

mod first_command;
mod program;
