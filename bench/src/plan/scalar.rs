//! A value of a plan, wherever it was written, and its reading within bounds.

use std::{fmt, str::FromStr};

/// A value of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A word.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Real(f64),
    /// Yes or no.
    Boolean(bool),
}

impl Scalar {
    /// A word, read as what it stands for.
    pub(super) fn word<T: FromStr>(&self) -> Result<T, String>
    where
        T::Err: fmt::Display,
    {
        match self {
            Self::Text(text) => text.parse().map_err(|reason: T::Err| reason.to_string()),
            other => Err(format!("{other} should be a text in quotes")),
        }
    }

    /// A whole number between two bounds.
    pub(super) fn whole<T: TryFrom<i64>>(&self, (min, max): (i64, i64)) -> Result<T, String> {
        let number = match self {
            Self::Integer(number) if (min..=max).contains(number) => T::try_from(*number).ok(),
            _ => None,
        };
        number.ok_or_else(|| format!("{self} is not a whole number of {min} to {max}"))
    }

    /// A number between two bounds.
    pub(super) fn real(&self, (min, max): (f64, f64)) -> Result<f64, String> {
        let number = match self {
            Self::Real(number) => Some(*number),
            Self::Integer(number) => Some(*number as f64),
            _ => None,
        };
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| format!("{self} is not a number of {min} to {max}"))
    }

    /// Yes or no.
    pub(super) fn boolean(&self) -> Result<bool, String> {
        match self {
            Self::Boolean(value) => Ok(*value),
            other => Err(format!("{other} should be true or false")),
        }
    }

    /// As it stands in a plan.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => toml::Value::String(text.clone()).to_string(),
            Self::Real(number) => toml::Value::Float(*number).to_string(),
            plain => plain.to_string(),
        }
    }
}

/// A switch's text as what protocols take: switches are kept as text, options have kinds.
pub fn option_value(text: &str) -> toml::Value {
    let number = text.parse().map(toml::Value::Integer).ok();
    let flag = text.parse().map(toml::Value::Boolean).ok();
    number.or(flag).unwrap_or_else(|| toml::Value::String(text.into()))
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
        }
    }
}
