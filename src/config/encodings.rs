//! Up to where collections are small: what the types ask of the `*-max-listpack-*` directives.

use super::Config;
use crate::types::list::NodeMax;
use crate::types::set::SetMax;
use crate::types::stream;
use crate::types::template::Sharing;
use crate::types::{Kind, ListpackMax};

impl Config {
    /// The name of a value's encoding that OBJECT ENCODING answers.
    pub fn shown_encoding(&self, kind: Kind, encoding: &'static str) -> &'static str {
        self.encoding_names.shown(self.compatibility_level, kind, encoding)
    }

    /// How much one listpack of a list holds.
    pub fn list_max(&self) -> NodeMax {
        NodeMax::of_directive(self.list_max_listpack_size.into())
    }

    pub fn hash_max(&self) -> ListpackMax {
        ListpackMax { entries: self.hash_max_listpack_entries, bytes: self.hash_max_listpack_value }
    }

    /// Which hashes share their field names.
    pub fn hash_sharing(&self) -> Sharing {
        Sharing::of_directives(self.hash_min_template_entries, self.hash_max_template_entries)
    }

    /// The same of those that a file or a payload brings.
    pub fn hash_load_sharing(&self) -> Sharing {
        Sharing::of_directives(self.hash_rdb_load_min_template_entries, self.hash_rdb_load_max_template_entries)
    }

    pub fn set_max(&self) -> SetMax {
        let packed = ListpackMax { entries: self.set_max_listpack_entries, bytes: self.set_max_listpack_value };
        SetMax { ints: self.set_max_intset_entries, packed }
    }

    /// How much one listpack of a stream holds.
    pub fn stream_max(&self) -> stream::NodeMax {
        stream::NodeMax::of_directives(self.stream_node_max_bytes, self.stream_node_max_entries)
    }

    /// How long a stream knows what its producers sent, unless XCFGSET says otherwise.
    pub fn stream_idmp(&self) -> stream::Limits {
        stream::Limits { duration: self.stream_idmp_duration, size: self.stream_idmp_maxsize }
    }

    pub fn zset_max(&self) -> ListpackMax {
        ListpackMax { entries: self.zset_max_listpack_entries, bytes: self.zset_max_listpack_value }
    }
}
