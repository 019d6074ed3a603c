//! How the interface's types are written down once: the Rust type, the C declaration and the layout file come from it.

/// One field as C and the layout file see it.
#[derive(Debug, Clone, Copy)]
pub struct FieldLayout {
    /// Its name.
    pub name: &'static str,
    /// Its declaration in C, with `{}` for the name.
    pub c: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Bytes from the beginning.
    pub offset: usize,
    /// Bytes that it takes.
    pub size: usize,
}

/// One type as C and the layout file see it.
#[derive(Debug, Clone)]
pub struct TypeLayout {
    /// Its name in C.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Whether fields may be appended in a minor version.
    pub grows: bool,
    /// Bytes that it takes.
    pub size: usize,
    /// Its fields in order.
    pub fields: Vec<FieldLayout>,
}

/// Defines a `repr(C)` type and its [`TypeLayout`].
macro_rules! abi_type {
    (
        $(#[doc = $doc:literal])* $grows:ident $rust:ident = $c_name:literal {
            $($(#[doc = $field_doc:literal])* $field:ident: $kind:ty = $c:literal,)*
        }
    ) => {
        $(#[doc = $doc])*
        #[repr(C)]
        pub struct $rust {
            $($(#[doc = $field_doc])* pub $field: $kind,)*
        }

        impl $rust {
            /// How C and the layout file see the type.
            pub fn layout() -> $crate::abi::TypeLayout {
                $crate::abi::TypeLayout {
                    name: $c_name,
                    doc: concat!($($doc, "\n",)*),
                    grows: stringify!($grows).len() == "grows".len(),
                    size: size_of::<Self>(),
                    fields: vec![$($crate::abi::FieldLayout {
                        name: stringify!($field),
                        c: $c,
                        doc: concat!($($field_doc, "\n",)*),
                        offset: std::mem::offset_of!($rust, $field),
                        size: size_of::<$kind>(),
                    },)*],
                }
            }
        }
    };
}

/// Defines the numbers of the interface, and a list of them for C.
macro_rules! abi_numbers {
    ($list:ident: $kind:ty = $c_kind:literal; $($(#[doc = $doc:literal])* $name:ident = $value:expr;)*) => {
        $($(#[doc = $doc])* pub const $name: $kind = $value;)*

        /// These numbers for C: name, type, value, meaning.
        pub const $list: &[(&str, &str, i64, &str)] =
            &[$((stringify!($name), $c_kind, $value as i64, concat!($($doc, "\n",)*)),)*];
    };
}

pub(crate) use {abi_numbers, abi_type};
