//! A point as the bytes of OTLP's `NumberDataPoint`. The attributes of a series are encoded once for all of its points,
//! and without a message of their own, which would be many small pieces of memory for each process. Fields are written in
//! the order of their numbers, as prost does.

use bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::figures::Value;

/// Bytes of a number of 64 bits and its key.
const NUMBER: usize = 9;

/// The fields of a `NumberDataPoint` by their numbers, as `opentelemetry/proto/metrics/v1/metrics.proto` has them, and of
/// what is in it, as `opentelemetry/proto/common/v1/common.proto` has them.
mod field {
    /// `fixed64`.
    pub(super) const START_TIME_UNIX_NANO: u32 = 2;
    /// `fixed64`.
    pub(super) const TIME_UNIX_NANO: u32 = 3;
    /// `double`.
    pub(super) const AS_DOUBLE: u32 = 4;
    /// `sfixed64`.
    pub(super) const AS_INT: u32 = 6;
    /// `KeyValue`, each of them.
    pub(super) const ATTRIBUTES: u32 = 7;
    /// `KeyValue.key`.
    pub(super) const KEY: u32 = 1;
    /// `KeyValue.value`, an `AnyValue`.
    pub(super) const VALUE: u32 = 2;
    /// `AnyValue.string_value`.
    pub(super) const STRING_VALUE: u32 = 1;
    /// `AnyValue.int_value`, `int64`.
    pub(super) const INT_VALUE: u32 = 3;
}

/// Attributes of points, encoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// One more, with a text.
    pub(super) fn text(mut self, name: &str, value: &str) -> Self {
        self.begin(name, framed(value.len()));
        begin(field::STRING_VALUE, value.len(), &mut self.0);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// One more, with a number.
    pub(super) fn number(mut self, name: &str, value: i64) -> Self {
        let value = value.cast_unsigned();
        self.begin(name, 1 + encoded_len_varint(value));
        encode_key(field::INT_VALUE, WireType::Varint, &mut self.0);
        encode_varint(value, &mut self.0);
        self
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Up to the bytes of a value of this length.
    fn begin(&mut self, name: &str, length: usize) {
        // Protobuf leaves out what is empty.
        let of_name = if name.is_empty() { 0 } else { framed(name.len()) };
        begin(field::ATTRIBUTES, of_name + framed(length), &mut self.0);
        if !name.is_empty() {
            begin(field::KEY, name.len(), &mut self.0);
            self.0.extend_from_slice(name.as_bytes());
        }
        begin(field::VALUE, length, &mut self.0);
    }
}

/// A number at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    /// What names its series, and what tells it from the metric's other points of that: bytes of [`Attributes`].
    pub(super) attributes: [&'a [u8]; 2],
    /// Since when it counts, in nanoseconds as the next; 0 for what is of the moment.
    pub(super) since: u64,
    /// When it was so.
    pub(super) at: u64,
    /// The number.
    pub(super) value: Value,
}

impl Point<'_> {
    /// How many bytes it has.
    pub(super) fn length(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|attributes| attributes.len()).sum();
        self.times().count() * NUMBER + NUMBER + attributes
    }

    /// Appends them.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        for (field, time) in self.times() {
            encode_key(field, WireType::SixtyFourBit, bytes);
            bytes.put_u64_le(time);
        }
        // Of what can be one of several things, 0 is told too.
        match self.value {
            Value::Int(value) => {
                encode_key(field::AS_INT, WireType::SixtyFourBit, bytes);
                // OTLP has no unsigned numbers.
                bytes.put_i64_le(i64::try_from(value).unwrap_or(i64::MAX));
            }
            Value::Double(value) => {
                encode_key(field::AS_DOUBLE, WireType::SixtyFourBit, bytes);
                bytes.put_f64_le(value);
            }
        }
        for attributes in self.attributes {
            bytes.extend_from_slice(attributes);
        }
    }

    /// Those that are told: protobuf leaves out what is 0.
    fn times(&self) -> impl Iterator<Item = (u32, u64)> {
        let times = [(field::START_TIME_UNIX_NANO, self.since), (field::TIME_UNIX_NANO, self.at)];
        times.into_iter().filter(|&(_, time)| time != 0)
    }
}

/// Appends what stands before a message of this length within another.
pub(super) fn begin(field: u32, length: usize, bytes: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, bytes);
    encode_varint(length as u64, bytes);
}

/// The length of a message of this length with what stands before it, where its field's number is below 16.
pub(super) fn framed(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

#[cfg(test)]
pub(super) mod tests {
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue, any_value},
        metrics::v1::{NumberDataPoint, number_data_point},
    };
    use proptest::{collection::vec, prelude::*};
    use prost::Message as _;

    use super::*;

    /// What a point is made of.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Told {
        pub(in super::super) attributes: [Vec<KeyValue>; 2],
        pub(in super::super) since: u64,
        pub(in super::super) at: u64,
        pub(in super::super) value: Value,
    }

    impl Told {
        /// The point as the protocol's own message.
        pub(in super::super) fn message(&self) -> NumberDataPoint {
            NumberDataPoint {
                attributes: self.attributes.concat(),
                start_time_unix_nano: self.since,
                time_unix_nano: self.at,
                value: Some(match self.value {
                    Value::Int(value) => {
                        number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))
                    }
                    Value::Double(value) => number_data_point::Value::AsDouble(value),
                }),
                ..NumberDataPoint::default()
            }
        }

        /// Does something with the point.
        pub(in super::super) fn tell<T>(&self, told: impl FnOnce(&Point<'_>) -> T) -> T {
            let attributes = self.attributes.each_ref().map(|told| {
                told.iter().fold(Attributes::default(), |attributes, KeyValue { key, value, .. }| match value
                    .as_ref()
                    .and_then(|value| value.value.as_ref())
                {
                    Some(any_value::Value::StringValue(text)) => attributes.text(key, text),
                    Some(any_value::Value::IntValue(number)) => attributes.number(key, *number),
                    other => panic!("{other:?}"),
                })
            });
            let Self { since, at, value, .. } = *self;
            told(&Point { attributes: attributes.each_ref().map(Attributes::bytes), since, at, value })
        }
    }

    fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
        let value = prop_oneof![
            ".{0,200}".prop_map(any_value::Value::StringValue),
            any::<i64>().prop_map(any_value::Value::IntValue),
        ];
        let attribute = (".{0,20}", value).prop_map(|(key, value)| {
            let value = Some(AnyValue { value: Some(value) });
            KeyValue { key, value, ..KeyValue::default() }
        });
        vec(attribute, 0..5)
    }

    /// Any points.
    pub(in super::super) fn told() -> impl Strategy<Value = Told> {
        let value = prop_oneof![
            any::<u64>().prop_map(Value::Int),
            Just(Value::Int(0)),
            any::<f64>().prop_map(Value::Double),
            Just(Value::Double(0.0)),
        ];
        let time = || prop_oneof![Just(0), any::<u64>()];
        ([attributes(), attributes()], time(), time(), value)
            .prop_map(|(attributes, since, at, value)| Told { attributes, since, at, value })
    }

    proptest! {
        #[test]
        fn a_point_has_the_bytes_of_the_protocols_own_message(told in told()) {
            let (length, bytes) = told.tell(|point| {
                let mut bytes = Vec::new();
                point.append_to(&mut bytes);
                (point.length(), bytes)
            });
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(bytes, told.message().encode_to_vec());
        }
    }
}
