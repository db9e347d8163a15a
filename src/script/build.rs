//! Builds the Lua VM: takes the stock 5.1.5 that the crate `lua-src` carries, applies our hunks to a copy, compiles it.
//!
//! No foreign source lies in the tree. A hunk that does not match exactly once stops the build.

use std::path::{Path, PathBuf};
use std::{env, fs};

mod hunks;

fn main() {
    println!("cargo:rerun-if-changed=src/script/build.rs");
    println!("cargo:rerun-if-changed=src/script/hunks.rs");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let lua = out.join("lua");
    copy(&lua_sources(&out.join("probe")), &lua);
    for (file, old, new) in hunks::HUNKS {
        patch(&lua.join(file), old, new);
    }
    let mut build = cc::Build::new();
    build.warnings(false).opt_level(2).define("LUA_USE_POSIX", None).define("LUA_USE_MKSTEMP", None);
    build.files(FILES.split(' ').map(|name| lua.join(name).with_extension("c")));
    build.compile("lua_memkv");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-lib=m");
    }
}

/// Where the crate lua-src keeps Lua 5.1.5: it says so when it cannot copy a header over a directory of that name. (Works
/// offline, vendored and under `cargo install`, where `cargo metadata` does not.)
fn lua_sources(probe: &Path) -> PathBuf {
    fs::create_dir_all(probe.join("include/lauxlib.h")).expect("a folder under OUT_DIR");
    let told = match lua_src::Build::new().out_dir(probe).try_build(lua_src::Lua51) {
        Ok(_) => panic!("lua-src copies a header over a folder"),
        Err(told) => told.to_string(),
    };
    let at = told.strip_prefix("Cannot copy '").and_then(|t| t.split_once("/lauxlib.h'")).map(|t| t.0);
    PathBuf::from(at.unwrap_or_else(|| panic!("lua-src does not say where its sources are: {told}")))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder under OUT_DIR");
    for file in fs::read_dir(from).expect("the sources of lua-src") {
        let file = file.expect("a file of lua-src");
        let text = fs::read(file.path()).expect("a readable file of lua-src");
        fs::write(to.join(file.file_name()), text).expect("room under OUT_DIR");
    }
}

fn patch(file: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(file).expect("a source file of Lua").replace("\r\n", "\n");
    let matches = text.matches(old).count();
    assert_eq!(matches, 1, "a hunk of {} matches {matches} times, not once: {old}", file.display());
    fs::write(file, text.replace(old, new)).expect("room under OUT_DIR");
}

/// The VM and its pure libraries: no files, no processes, no loading of code, no debug library. `lundump` has the header
/// that `string.dump` writes; nothing calls its reader.
const FILES: &str = "lapi lauxlib lbaselib lcode ldebug ldo ldump lfunc lgc llex lmathlib lmem lobject lopcodes lparser lstate lstring lstrlib ltable ltablib ltm lundump lvm lzio";
