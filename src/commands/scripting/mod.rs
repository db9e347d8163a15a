//! Scripts and functions: EVAL and its kin, FCALL, SCRIPT, FUNCTION.
//!
//! `run.rs` finds what is to be run and runs it; `host.rs` is what a running script meets; `script.rs` and `function.rs`
//! have the two containers. The VM, the cache of texts and the libraries are in [`crate::script`].

mod function;
mod host;
mod run;
mod script;

use crate::command::*;

pub const COMMANDS: &[Command] = &[
    run::EVAL,
    run::EVALSHA,
    run::EVALSHA_RO,
    run::EVAL_RO,
    run::FCALL,
    run::FCALL_RO,
    function::FUNCTION,
    function::FUNCTION_DELETE,
    function::FUNCTION_DUMP,
    function::FUNCTION_FLUSH,
    function::FUNCTION_HELP,
    function::FUNCTION_KILL,
    function::FUNCTION_LIST,
    function::FUNCTION_LOAD,
    function::FUNCTION_RESTORE,
    function::FUNCTION_STATS,
    script::SCRIPT,
    script::SCRIPT_DEBUG,
    script::SCRIPT_EXISTS,
    script::SCRIPT_FLUSH,
    script::SCRIPT_HELP,
    script::SCRIPT_KILL,
    script::SCRIPT_LOAD,
    script::SCRIPT_SHOW,
];

/// Ends what may be ended of what runs: SCRIPT KILL and FUNCTION KILL.
fn kill(ctx: &mut Ctx<'_, '_>, functions: bool) -> Outcome {
    use crate::script::running::Killed;
    match ctx.node.scripts.runs.kill(functions) {
        Killed::Yes => ctx.out.ok(),
        Killed::NothingRuns => Err(Error::new("NOTBUSY No scripts in execution right now.")),
        Killed::Obeyed => Err(Error::new(
            "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot be killed.",
        )),
        Killed::Wrote => Err(Error::new(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        )),
        Killed::OtherKind => Err(scripts::busy(!functions).clone()),
    }
}
