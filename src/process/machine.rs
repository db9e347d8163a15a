//! What this machine can do: the processor that the program was built for, known troubles of a system, faulty memory.

#![allow(unsafe_code)]

use crate::config::Config;
use std::fs;
use std::hint::black_box;

/// Ends the process with a clear line if the processor lacks what the program was compiled for: without it the first
/// such instruction ends it with SIGILL and no word. It runs before `main`, and before anything that is compiled so.
#[cfg(target_arch = "x86_64")]
mod processor {
    use crate::clock::cpuid;
    use std::arch::x86_64::CpuidResult;

    #[used]
    // SAFETY: the section holds functions that the C library calls before `main`, with arguments this one does not
    // take.
    #[unsafe(link_section = ".init_array")]
    static CHECK: extern "C" fn() = check;

    extern "C" fn check() {
        let highest = cpuid(0, 0).eax;
        let leaf = |n: u32| if n <= highest { cpuid(n, 0) } else { NOTHING };
        let extended = if cpuid(EXTENDED, 0).eax > EXTENDED { cpuid(EXTENDED + 1, 0) } else { NOTHING };
        if let Some(text) = missing(leaf(1), leaf(7), extended) {
            // SAFETY: plain calls on text that is constant.
            unsafe {
                libc::write(2, text.as_ptr().cast(), text.len());
                libc::_exit(1);
            }
        }
    }

    /// The first feature that the program needs and these answers of `cpuid` lack.
    pub(super) fn missing(one: CpuidResult, seven: CpuidResult, extended: CpuidResult) -> Option<&'static str> {
        macro_rules! needs {
            ($($feature:literal $register:expr, $bit:literal;)*) => {$(
                if cfg!(target_feature = $feature) && $register & (1 << $bit) == 0 {
                    return Some(concat!(
                        "memkv-server: this processor lacks ", $feature, ", which this build needs (x86-64-v3 with AES: Intel Haswell, AMD Zen, or newer). \
                         Build one for it: RUSTFLAGS='-C target-cpu=native' cargo build --release\n"
                    ));
                }
            )*};
        }
        needs! {
            "sse3" one.ecx, 0;
            "ssse3" one.ecx, 9;
            "fma" one.ecx, 12;
            "sse4.1" one.ecx, 19;
            "sse4.2" one.ecx, 20;
            "movbe" one.ecx, 22;
            "popcnt" one.ecx, 23;
            "aes" one.ecx, 25;
            "avx" one.ecx, 28;
            "f16c" one.ecx, 29;
            "bmi1" seven.ebx, 3;
            "avx2" seven.ebx, 5;
            "bmi2" seven.ebx, 8;
            "lzcnt" extended.ecx, 5;
        }
        None
    }

    const NOTHING: CpuidResult = CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    const EXTENDED: u32 = 0x8000_0000;
}

/// `--check-system`: one line for each known trouble, its cure where it is there. The exit code is 1 if any is.
pub fn check_system() -> i32 {
    let mut code = 0;
    for (name, check) in CHECKS {
        match check() {
            Ok(()) => println!("[{name}]...OK"),
            Err(cure) => {
                println!("[{name}]...WARNING:\n{cure}\n");
                code = 1;
            }
        }
    }
    code
}

type Check = fn() -> Result<(), String>;

const CHECKS: [(&str, Check); 4] = [
    ("slow-clocksource", slow_clock),
    ("descriptors", descriptors),
    ("listen-backlog", listen_backlog),
    ("memory-limit", memory_limit),
];

fn slow_clock() -> Result<(), String> {
    let source = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    match source.as_str() {
        "xen" | "hpet" | "acpi_pm" | "jiffies" => Err(format!(
            "The clock source is {source}, which needs a system call for each look at the clock. Look at /sys/devices/system/clocksource/clocksource0/available_clocksource for tsc or kvm-clock and write that to current_clocksource."
        )),
        _ => Ok(()),
    }
}

fn descriptors() -> Result<(), String> {
    let config = Config::default();
    match super::adjust_open_files(config.maxclients, super::worker_threads(&config)) {
        Ok(possible) if possible == config.maxclients => Ok(()),
        Ok(possible) => Err(format!(
            "The limit of open files (ulimit -n) leaves room for {possible} of {} clients (maxclients). Raise it; under systemd it is LimitNOFILE=.",
            config.maxclients
        )),
        Err(reason) => Err(reason),
    }
}

fn listen_backlog() -> Result<(), String> {
    let (wanted, most) = (Config::default().tcp_backlog, read("/proc/sys/net/core/somaxconn"));
    match most.parse::<u32>() {
        Ok(most) if most < wanted => Err(format!(
            "The kernel caps tcp-backlog ({wanted}) at net.core.somaxconn ({most}): clients that connect at the same time may have to try again. sysctl net.core.somaxconn={wanted}"
        )),
        _ => Ok(()),
    }
}

fn memory_limit() -> Result<(), String> {
    let limit = read("/sys/fs/cgroup/memory.max");
    match limit.parse::<u64>() {
        Ok(bytes) => Err(format!(
            "This control group may use {bytes} bytes of memory, and the kernel kills what uses more. Set maxmemory to about three quarters of it."
        )),
        Err(_) => Ok(()),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// `--test-memory`: writes patterns to so much memory and reads them back. The exit code is 1 if any word came back
/// different.
pub fn test_memory(megabytes: u64) -> i32 {
    let words = usize::try_from(megabytes).ok().and_then(|mb| mb.checked_mul(WORDS_OF_MB)).unwrap_or(0);
    let mut memory = Vec::<u64>::new();
    if words == 0 || memory.try_reserve_exact(words).is_err() {
        eprintln!("{megabytes} megabytes cannot be tested: there is no such amount of memory to be had");
        return 1;
    }
    memory.resize(words, 0);
    for pass in 1..=PASSES {
        for (name, pattern) in PATTERNS {
            let wrong = differing(&mut memory, pattern);
            if wrong > 0 {
                println!(
                    "\nMEMORY ERROR: {wrong} words differ (pass {pass}, {name}). Replace the memory of this machine."
                );
                return 1;
            }
        }
        println!("Pass {pass} of {PASSES}: no error in {megabytes} megabytes");
    }
    println!("\nYour memory passed this test. Only a test of all of it, without a system (memtest86+), is thorough.");
    0
}

/// Writes a pattern, reads it, writes its complement from the other end, reads that; counts the words that differ.
fn differing(memory: &mut [u64], pattern: fn(usize) -> u64) -> usize {
    let count =
        |memory: &[u64], flip: u64| memory.iter().enumerate().filter(|(i, word)| **word != pattern(*i) ^ flip).count();
    memory.iter_mut().enumerate().for_each(|(i, word)| *word = pattern(i));
    let up = count(black_box(memory), 0);
    memory.iter_mut().enumerate().rev().for_each(|(i, word)| *word = !pattern(i));
    up + count(black_box(memory), u64::MAX)
}

type Pattern = fn(usize) -> u64;

const PATTERNS: [(&str, Pattern); 4] = [
    ("addresses", |i| i as u64),
    ("checkerboard", |i| if i % 2 == 0 { 0x5555_5555_5555_5555 } else { 0xaaaa_aaaa_aaaa_aaaa }),
    ("one bit of each word", |i| 1 << (i % 64)),
    ("noise", |i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)),
];
const WORDS_OF_MB: usize = (1 << 20) / size_of::<u64>();
const PASSES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_processor_that_lacks_what_was_compiled_in_is_named() {
        use std::arch::x86_64::CpuidResult;
        let all = CpuidResult { eax: u32::MAX, ebx: u32::MAX, ecx: u32::MAX, edx: u32::MAX };
        assert_eq!(processor::missing(all, all, all), None);
        if cfg!(target_feature = "avx2") {
            let old = CpuidResult { ebx: !(1 << 5), ..all };
            let text = processor::missing(all, old, all).unwrap();
            assert!(text.contains("lacks avx2") && text.ends_with('\n'), "{text}");
        }
    }

    #[test]
    fn sound_memory_passes_and_a_stuck_bit_does_not() {
        let mut memory = vec![0; 1000];
        assert!(PATTERNS.iter().all(|(_, pattern)| differing(&mut memory, *pattern) == 0));
        let stuck: Pattern = |i| if i == 500 { black_box(fastrand::u64(..)) } else { 0 };
        assert!(differing(&mut memory, stuck) > 0);
    }
}
