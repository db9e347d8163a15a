//! Directives of authentication.
//!
//! One row per directive, sorted by name; the page of the table above says what the columns mean.

use crate::config::param::{IMMUTABLE, LONG, MODIFIABLE, Param, ParamKind, SENSITIVE, at, choice, int, num, row, text};

#[rustfmt::skip]
pub(super) const ROWS: &[Param] = &[
    row("acl-pubsub-default", ParamKind::Choice(choice!(acl_pubsub_default, AclPubsubDefault)),
        "resetchannels", MODIFIABLE,
        "Channels a new ACL user may use."),
    row("aclfile", text(at!(aclfile)), "", IMMUTABLE,
        "File of ACL users."),
    row("acllog-max-len", int(num!(acllog_max_len), 0, LONG), "128", MODIFIABLE,
        "Entries kept by ACL LOG."),
    row("requirepass", ParamKind::Secret(at!(requirepass)), "", MODIFIABLE | SENSITIVE,
        "Password of the default user; empty for none."),
];
