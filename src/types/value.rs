//! What a key holds when it is more than a short string: one word that says which type, one that points to it.
//!
//! Short strings and integers never get here: they live inside the keyspace's entry. Adding a type means adding a
//! variant here and implementing [`Collection`] beside the type.

/// A key's type, by the names TYPE answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    List,
    Set,
    Zset,
    Hash,
    Stream,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }
}

/// A value with an allocation of its own.
pub enum Value {
    /// A string too long to live in its entry.
    Str(Box<Vec<u8>>),
}

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Str(_) => Kind::String,
        }
    }

    /// The name OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Str(_) => "raw",
        }
    }

    /// Bytes on the heap behind the value's own two words.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Str(s) => s.capacity() + size_of::<Vec<u8>>(),
        }
    }

    /// How many allocations dropping it frees, about: decides whether to free it off the serving path.
    pub fn free_effort(&self) -> usize {
        match self {
            // Unmapping a large block costs like many small ones.
            Self::Str(s) => 1 + s.capacity() / (256 << 10),
        }
    }

    pub fn duplicate(&self) -> Self {
        match self {
            Self::Str(s) => Self::Str(s.clone()),
        }
    }

    /// True for a collection without members, which must not stay in the keyspace.
    pub fn is_empty_collection(&self) -> bool {
        match self {
            Self::Str(_) => false,
        }
    }
}

/// A type that can be reached through [`Value`]; strings are not, they have their own road.
pub trait Collection: Sized {
    const KIND: Kind;
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    fn empty() -> Self;
}
