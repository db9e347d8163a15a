//! The server under the sandbox of a hardened systemd unit: `SystemCallFilter=~@privileged @resources`, as Debian's
//! redis-server has it, `MemoryDenyWriteExecute` and `RestrictAddressFamilies`. The filter ends the process at the first
//! call that it forbids, so a server that lives through everything here made none.

#![allow(unsafe_code)]
#![cfg(target_os = "linux")]

mod common;

use common::{Client, Server, wait_until};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[test]
fn a_hardened_service_lives_through_everything_that_works_in_the_background() {
    let options = ["--appendonly", "yes", "--admin-port", "0", "--activedefrag", "yes", "--supervised", "systemd"];
    let mut server = Server::start_as(&options, sandbox);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    assert!(status.contains("Seccomp:\t2"), "there is no filter");
    let mut client = Client::of(&server);
    for i in 0..200 {
        client.ask(&format!("RPUSH big {}", "x".repeat(i + 1)));
    }
    client.ask("SET k v PX 1");
    assert_eq!(client.ask("EVAL \"return redis.call('SET','s','1')\" 0"), ["OK"]);
    assert_eq!(client.ask("UNLINK big"), ["1"]);
    assert_eq!(client.ask("CONFIG SET maxclients 1000 save '3600 1'"), ["OK"]);
    assert_eq!(client.ask("BGSAVE"), ["Background saving started"]);
    wait_until("the save ends", || server.log().contains("Background saving terminated with success"));
    assert!(client.ask("BGREWRITEAOF")[0].starts_with("Background append only file rewriting"));
    wait_until("the rewrite ends", || server.log().contains("Background AOF rewrite finished successfully"));
    assert_eq!(client.ask("REPLICAOF localhost 1"), ["OK"]);
    assert_eq!(client.ask("REPLICAOF NO ONE"), ["OK"]);
    server.is_well();
    client.send("SHUTDOWN");
    assert_eq!(server.child.wait().unwrap().code(), Some(0), "{}", server.log());
    assert!(
        server.log().contains("cannot step back"),
        "the operator is told what the sandbox takes:\n{}",
        server.log()
    );
}

#[test]
fn a_service_without_a_filter_is_told_nothing() {
    let server = Server::start(&[]);
    assert!(!server.log().contains("cannot step back"), "{}", server.log());
}

/// What the process may do from its first instruction on.
fn sandbox(command: &mut Command) {
    let filter = filter();
    // SAFETY: between fork and exec only two system calls are made, with memory that was filled before.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            let set = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0;
            if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
}

/// A program for the kernel: it loads the call's number, compares, and says what becomes of it.
fn filter() -> Vec<libc::sock_filter> {
    let load = |offset| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let answer = |what| op(libc::BPF_RET | libc::BPF_K, what, 0, 0);
    let equal = |value, yes, no| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, yes, no);
    let any_bit = |value, yes, no| op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, value, yes, no);
    let argument = |n: u32| ARGUMENTS + 8 * n;
    let mut program = vec![load(NUMBER)];
    for number in FORBIDDEN {
        program.extend([equal(*number as u32, 0, 1), answer(libc::SECCOMP_RET_KILL_PROCESS)]);
    }
    // Memory that is written and run: mmap with both, mprotect to run.
    let (write, execute) = (libc::PROT_WRITE as u32, libc::PROT_EXEC as u32);
    program.extend([
        equal(libc::SYS_mmap as u32, 0, 4),
        load(argument(2)),
        any_bit(execute, 0, 2),
        any_bit(write, 0, 1),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
    ]);
    program.push(load(NUMBER));
    program.extend([
        equal(libc::SYS_mprotect as u32, 0, 3),
        load(argument(2)),
        any_bit(execute, 0, 1),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
    ]);
    program.push(load(NUMBER));
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].map(|family| family as u32);
    program.extend([
        equal(libc::SYS_socket as u32, 0, 5),
        load(argument(0)),
        equal(families[0], 3, 0),
        equal(families[1], 2, 0),
        equal(families[2], 1, 0),
        answer(libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
    ]);
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

fn op(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Offsets of `struct seccomp_data`; the lower half of an argument comes first.
const NUMBER: u32 = 0;
const ARGUMENTS: u32 = 16;
/// systemd's sets @privileged (with @chown, @clock, @module, @raw-io, @reboot, @swap) and @resources, as far as every
/// architecture has the calls.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_ioprio_set,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_set_mempolicy,
    libc::SYS_setpriority,
    libc::SYS_setrlimit,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_settimeofday,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_acct,
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_open_by_handle_at,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_setdomainname,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setuid,
    libc::SYS_vhangup,
];
