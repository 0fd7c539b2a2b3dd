//! Every committed input of every fuzz target, without a fuzzer: what was found once is never broken again, and no target rots.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fieldgate_fuzz_bodies::{TARGETS, seeds};

/// What the repository bears, in bytes.
const MOST_BYTES: u64 = 200 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_input_of_every_corpus_keeps_the_promises() {
    for (target, body) in TARGETS {
        let inputs = inputs(target);
        let deep = inputs.iter().filter(|(path, bytes)| {
            println!("{}", path.display());
            body(bytes)
        });
        let deep = deep.count();
        assert!(
            deep * 3 >= inputs.len(),
            "{target}: only {deep} of {} inputs get past the first checks",
            inputs.len()
        );
    }
}

#[test]
fn every_seed_is_in_its_corpus() {
    for seed in seeds::all() {
        let path = fuzz().join("corpus").join(seed.target).join(&seed.name);
        assert_eq!(fs::read(&path).ok(), Some(seed.bytes), "{}: write the seeds again", path.display());
    }
}

#[test]
fn targets_corpora_and_programs_of_the_fuzzer_are_the_same_list_and_small() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: &str| -> BTreeSet<String> {
        let files = fs::read_dir(fuzz().join(folder)).unwrap();
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in fuzz/Cargo.toml");
    }
    let bytes: usize = targets.iter().flat_map(|target| inputs(target)).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes as u64 <= MOST_BYTES, "{bytes} bytes");
}

#[test]
fn an_empty_input_is_no_input() {
    for (target, body) in TARGETS {
        assert!(!body(&[]) || target == "dtls_connected", "{target} got somewhere from nothing");
    }
}
