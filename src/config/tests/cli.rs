//! The command line.

use crate::config::cli::*;
use crate::config::help::Shell;

fn parsed(args: &[&str]) -> Action {
    parse(&args.iter().map(|arg| arg.as_bytes().to_vec()).collect::<Vec<_>>())
}

fn startup(args: &[&str]) -> Startup {
    match parsed(args) {
        Action::Serve(startup) => startup,
        other => panic!("{other:?}"),
    }
}

fn lines(args: &[&str]) -> String {
    String::from_utf8(startup(args).options.unwrap()).unwrap()
}

#[test]
fn options_become_lines() {
    assert_eq!(lines(&["--port", "1", "--appendonly", "yes"]), "port \"1\" \nappendonly \"yes\" ");
    assert_eq!(lines(&["--save", "3600", "1", "--save", "60", "100"]), "save \"3600\" \"1\" \nsave \"60\" \"100\" ");
    assert_eq!(lines(&["--port 6380"]), "port 6380 ");
    assert_eq!(lines(&["x.conf", "loglevel", "verbose"]), "\"loglevel\" \"verbose\" ");
    assert_eq!(lines(&["--port", "--bla", "--loglevel", "verbose"]), "port \"--bla\" \nloglevel \"verbose\" ");
    assert_eq!(lines(&["--replicaof", "--h", "--x"]), "replicaof \"--h\" \nx ");
    assert_eq!(lines(&["--port", "-1"]), "port \"-1\" ");
}

#[test]
fn save_without_a_value_is_no_save() {
    assert_eq!(lines(&["--save", "--port", "1"]), "save \"\"\nport \"1\" ");
    assert_eq!(lines(&["--port", "1", "--SAVE"]), "port \"1\" \nSAVE \"\"");
    assert_eq!(lines(&["--save", "", "--port", "1"]), "save \"\" \nport \"1\" ");
    assert_eq!(
        lines(&["--proc-title-template", "--save", "--save", ""]),
        "proc-title-template \"--save\" \nsave \"\" "
    );
}

#[test]
fn file_and_standard_input() {
    let file = Some(b"/x.conf".to_vec());
    assert_eq!(startup(&[]), Startup::default());
    assert_eq!(startup(&["/x.conf"]), Startup { file: file.clone(), stdin: false, options: Some(Vec::new()) });
    assert_eq!(startup(&["-"]), Startup { file: None, stdin: true, options: Some(Vec::new()) });
    let both = startup(&["/x.conf", "--port", "1", "-"]);
    assert_eq!((both.file, both.stdin, both.options), (file, true, Some(b"port \"1\" ".to_vec())));
    assert_eq!(lines(&["--port", "-", "--hz", "1"]), "port \"-\" \nhz \"1\" ");
    assert_eq!(startup(&["/x.conf", "--port", "1"]).text(b"a\n", b"b\n"), b"a\nb\n\nport \"1\" ");
}

#[test]
fn words_that_do_not_start_a_server() {
    assert_eq!(parsed(&["-v"]), Action::Version);
    assert_eq!(parsed(&["--version", "x"]), Action::Version);
    assert_eq!(parsed(&["-h"]), Action::Help { short: true });
    assert_eq!(parsed(&["--help"]), Action::Help { short: false });
    assert_eq!(parsed(&["--man"]), Action::Man);
    assert_eq!(parsed(&["--sample-conf"]), Action::SampleConf);
    assert_eq!(parsed(&["--completions", "fish"]), Action::Completions(Shell::Fish));
    assert!(matches!(parsed(&["--completions"]), Action::Complain(_)));
    assert_eq!(parsed(&["--test-memory", "64x"]), Action::TestMemory { megabytes: 64 });
    assert!(matches!(parsed(&["--test-memory"]), Action::Complain(_)));
    assert_eq!(parsed(&["--check-system"]), Action::CheckSystem);
    assert_eq!(parsed(&["x.conf", "--sentinel"]), Action::Complain(NO_SENTINEL.to_owned()));
    assert!(matches!(parsed(&["x.conf", "--version"]), Action::Serve(_)));
}

#[test]
fn the_version_line_has_the_shape_of_redis() {
    let line = version_line();
    let build = line.strip_prefix("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.1 bits=64 build=").unwrap();
    let build = build.strip_suffix(concat!(" memkv=", env!("CARGO_PKG_VERSION"))).unwrap();
    assert!(build.len() == 16 && build.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
}
