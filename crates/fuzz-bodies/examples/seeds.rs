//! Writes the committed seeds below the directory it is given: `cargo run -p fieldgate-fuzz-bodies --example seeds fuzz/corpus`.

#![allow(
    clippy::disallowed_methods,
    reason = "files of the working tree, made again at will: nothing to keep durable"
)]

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = env::args_os().nth(1).map(PathBuf::from);
    let root = root.ok_or_else(|| io::Error::other("usage: seeds DIRECTORY"))?;
    for seed in fieldgate_fuzz_bodies::seeds::all() {
        let folder = root.join(seed.target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(seed.name), seed.bytes)?;
    }
    Ok(())
}
