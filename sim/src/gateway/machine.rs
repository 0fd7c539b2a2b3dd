//! The conditions of a measurement: the machine, and what kind of program was measured.

use std::path::Path;

/// The machine in a few words.
#[must_use]
pub fn words() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    serde_json::json!({
        "cores": cores(),
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "architecture": std::env::consts::ARCH,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").split_whitespace().next(),
    })
}

/// How many cores this program may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A file's size in bytes; 0 when it is not there.
#[must_use]
pub fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Resident bytes of this process (`VmRSS`); 0 where the kernel does not say.
#[must_use]
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Whether a program carries no symbol table, which is how this project's release builds, and no others, are made.
#[must_use]
pub fn is_stripped(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|elf| has_symbols(&elf) == Some(false))
}

/// Looks for a section of type `SHT_SYMTAB` (System V ABI, chapter 4: ELF header and section headers). `None` where the
/// bytes are no 64- or 32-bit little-endian ELF file.
fn has_symbols(elf: &[u8]) -> Option<bool> {
    const SHT_SYMTAB: u32 = 2;
    let wide = match elf.get(..6)? {
        [0x7F, b'E', b'L', b'F', 2, 1] => true,
        [0x7F, b'E', b'L', b'F', 1, 1] => false,
        _ => return None,
    };
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?)));
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let table = if wide {
        usize::try_from(u64::from_le_bytes(elf.get(0x28..0x30)?.try_into().ok()?)).ok()?
    } else {
        usize::try_from(word(0x20)?).ok()?
    };
    let (size, count) = if wide { (half(0x3A)?, half(0x3C)?) } else { (half(0x2E)?, half(0x30)?) };
    for n in 0..count {
        let header = size.checked_mul(n)?.checked_add(table)?;
        if word(header.checked_add(4)?)? == SHT_SYMTAB {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_has_symbols_and_a_text_is_no_program() {
        let own = std::env::current_exe().unwrap();
        assert!(cfg!(not(debug_assertions)) || !is_stripped(&own));
        assert_eq!(has_symbols(b"#!/bin/sh"), None);
        assert_eq!(has_symbols(&[0x7F, b'E', b'L', b'F', 2, 1, 1]), None);
    }
}
