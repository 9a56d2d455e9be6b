//! Structures of which all fields have one type, so that offsets, paths and values of the same fields are kept in the
//! same shape, and none can be forgotten in one of them.

/// Defines such a structure, generic over the type of its fields.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident $(<$default:ty>)? { $($(#[$field_doc:meta])* $field:ident,)+ }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<T $(= $default)?> {
            $($(#[$field_doc])* pub $field: T,)+
        }

        impl $name<&'static str> {
            /// The names of the fields.
            pub const NAMES: Self = Self { $($field: stringify!($field),)+ };
        }

        impl<T> $name<T> {
            /// How many fields there are.
            pub const LENGTH: usize = [$(stringify!($field)),+].len();

            /// With the same value in all fields.
            pub const fn all(value: T) -> Self
            where
                T: Copy,
            {
                Self { $($field: value,)+ }
            }

            /// What `change` makes of each field.
            #[inline(always)]
            pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> $name<U> {
                $name { $($field: change(self.$field),)+ }
            }

            /// What `join` makes of each field and that of `other`.
            #[inline(always)]
            pub fn zip<U, V>(self, other: $name<U>, mut join: impl FnMut(T, U) -> V) -> $name<V> {
                $name { $($field: join(self.$field, other.$field),)+ }
            }

            /// Calls `action` with each field, in the order in which they lie in memory.
            #[inline(always)]
            pub fn for_each(self, mut action: impl FnMut(T)) {
                $(action(self.$field);)+
            }
        }

        impl<T> $name<Option<T>> {
            /// All fields, if none is missing.
            pub fn complete(self) -> Option<$name<T>> {
                Some($name { $($field: self.$field?,)+ })
            }
        }

        const _: () = assert!(
            size_of::<$name<u64>>() == 8 * $name::<u64>::LENGTH && size_of::<$name<u32>>() == 4 * $name::<u32>::LENGTH
        );
    };
}

pub(crate) use table;
