//! From TOML to a draft. Walks the tree with its spans, so that every error names its line and what would be right.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::{Draft, DraftCell, Given, PLAN_KEYS, PlanError, plan_name, wrong};
use crate::plan::{Point, Scalar, System};

/// Walks the tree of a plan's text; knows the line of everything.
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

/// A key or a value with its bytes in the text.
type Spanned<T> = toml::Spanned<T>;

impl Reader<'_> {
    pub(super) fn read(&self) -> Result<Draft, PlanError> {
        let tree = DeTable::parse(self.text)
            .map_err(|error| wrong(self.place(error.span().map_or(0, |span| span.start)), error.message()))?;
        let mut header = BTreeMap::new();
        let mut cells = Vec::new();
        for (key, value) in tree.get_ref() {
            let known = PLAN_KEYS.into_iter().find(|known| known == key.get_ref());
            match known.ok_or_else(|| self.unknown(key, &PLAN_KEYS))? {
                "cell" => cells = self.cells(value)?,
                known => _ = header.insert(known, self.single(value)?),
            }
        }
        Ok(Draft { file: self.file.to_owned(), source: Some(self.text.to_owned()), header, cells })
    }

    fn cells(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<DraftCell>, PlanError> {
        let not_cells = || self.wrong(value, "cells are written as [[cell]]");
        let array = value.get_ref().as_array().ok_or_else(not_cells)?;
        let mut cells: Vec<DraftCell> = Vec::new();
        for value in array.iter() {
            let table = value.get_ref().as_table().ok_or_else(not_cells)?;
            let cell = self.cell(value.span().start, table)?;
            if cells.iter().any(|other| other.name == cell.name) {
                return Err(self.wrong(value, &format!("there are two cells of the name {:?}", cell.name)));
            }
            cells.push(cell);
        }
        Ok(cells)
    }

    fn cell(&self, start: usize, table: &DeTable<'_>) -> Result<DraftCell, PlanError> {
        let mut cell = DraftCell { name: String::new(), line: self.line(start), parameters: BTreeMap::new() };
        for (key, value) in table {
            match (&key.get_ref()[..], value.get_ref()) {
                ("name", _) => {
                    let given = self.single(value)?;
                    cell.name = plan_name(&given.values[0]).map_err(|reason| wrong(given.place, &reason))?;
                }
                (system, DeValue::Table(switches)) if system.parse::<System>().is_ok() => {
                    for (name, value) in switches {
                        let switch = format!("{system}.{}", name.get_ref());
                        cell.parameters.insert(switch, self.given(value)?);
                    }
                }
                (known, _) if Point::KEYS.contains(&known) => {
                    cell.parameters.insert(known.to_owned(), self.given(value)?);
                }
                _ => {
                    let systems = System::ALL.map(System::name);
                    let keys = [&["name"][..], &Point::KEYS, &systems].concat();
                    return Err(self.unknown(key, &keys));
                }
            }
        }
        self.check_cell(start, cell)
    }

    fn check_cell(&self, start: usize, cell: DraftCell) -> Result<DraftCell, PlanError> {
        if cell.name.is_empty() {
            return Err(wrong(self.place(start), "a cell has a name"));
        }
        let systems = cell.systems();
        let owner = |key: &String| key.split_once('.').map(|(system, _)| system.to_owned());
        let foreign = cell
            .parameters
            .iter()
            .find(|(key, _)| owner(key).is_some_and(|system| !systems.contains(&system)));
        match foreign {
            Some((key, given)) => {
                let reason =
                    format!("{key} is set, but the cell {:?} measures {}", cell.name, systems.join(", "));
                Err(wrong(given.place.clone(), &reason))
            }
            None => Ok(cell),
        }
    }

    fn single(&self, value: &Spanned<DeValue<'_>>) -> Result<Given, PlanError> {
        Ok(Given { values: vec![self.scalar(value)?], place: self.place(value.span().start) })
    }

    fn given(&self, value: &Spanned<DeValue<'_>>) -> Result<Given, PlanError> {
        let Some(list) = value.get_ref().as_array() else { return self.single(value) };
        let values: Vec<Scalar> = list.iter().map(|value| self.scalar(value)).collect::<Result<_, _>>()?;
        if values.is_empty() {
            return Err(self.wrong(value, "an empty list measures nothing"));
        }
        if (1..values.len()).any(|at| values[..at].contains(&values[at])) {
            return Err(self.wrong(value, "a value is there twice"));
        }
        Ok(Given { values, place: self.place(value.span().start) })
    }

    fn scalar(&self, value: &Spanned<DeValue<'_>>) -> Result<Scalar, PlanError> {
        let bad = || self.wrong(value, "the number is out of range");
        match value.get_ref() {
            DeValue::String(text) => Ok(Scalar::Text(text.to_string())),
            DeValue::Boolean(value) => Ok(Scalar::Boolean(*value)),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map(Scalar::Integer).map_err(|_| bad())
            }
            DeValue::Float(number) => number.as_str().parse().map(Scalar::Real).map_err(|_| bad()),
            _ => Err(self.wrong(value, "expected a text, a number or true or false")),
        }
    }

    fn unknown(&self, key: &Spanned<toml::de::DeString<'_>>, valid: &[&str]) -> PlanError {
        let reason = format!("unknown key {:?}; valid keys: {}", key.get_ref(), valid.join(", "));
        wrong(self.place(key.span().start), &reason)
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, reason: &str) -> PlanError {
        wrong(self.place(value.span().start), reason)
    }

    fn place(&self, start: usize) -> String {
        format!("{}:{}", self.file, self.line(start))
    }

    fn line(&self, start: usize) -> usize {
        self.text.as_bytes()[..start.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}
