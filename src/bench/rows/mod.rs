//! The rows, in the order of the report.

use super::Row;

mod abuse;
mod against;
mod amount;
mod bystanders;
mod fan_out;
mod growth;
mod json;
mod lateness;
mod memory;
mod ping;
mod register;
mod renew;
mod restart;
mod stream_drop;

/// All there are.
pub fn all() -> Vec<Box<dyn Row>> {
    let mut rows: Vec<Box<dyn Row>> = vec![
        Box::new(register::Register),
        Box::new(register::Batch),
        Box::new(json::Register),
        Box::new(ping::Ping { keep_alive: true }),
        Box::new(ping::Ping { keep_alive: false }),
        Box::new(renew::Ids { each: 1 }),
        Box::new(renew::Ids { each: 256 }),
        Box::new(renew::Whole),
    ];
    rows.extend(fan_out::rows());
    rows.extend::<[Box<dyn Row>; 7]>([
        Box::new(bystanders::Bystanders),
        Box::new(stream_drop::StreamDrop),
        Box::new(lateness::Lateness),
        Box::new(memory::Memory),
        Box::new(restart::Restart),
        Box::new(growth::Growth),
        Box::new(abuse::Abuse),
    ]);
    rows
}

/// No row is called so.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no row {name}; there are: {known}")]
pub struct UnknownRow {
    name: String,
    known: String,
}

/// Those of these names, in the order of the report; all when there are none.
pub fn named(names: &[String]) -> Result<Vec<Box<dyn Row>>, UnknownRow> {
    let rows = all();
    let unknown = names.iter().find(|name| rows.iter().all(|row| row.name() != **name));
    if let Some(name) = unknown {
        let known = rows.iter().map(|row| row.name()).collect::<Vec<_>>().join(", ");
        return Err(UnknownRow { name: name.clone(), known });
    }
    let wanted = |row: &dyn Row| names.is_empty() || names.iter().any(|name| name == row.name());
    Ok(rows.into_iter().filter(|row| wanted(row.as_ref())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_their_names() {
        let all: Vec<_> = all().iter().map(|row| row.name()).collect();
        let found: Vec<_> = named(&[]).unwrap().iter().map(|row| row.name()).collect();
        assert_eq!(found, all);
        let mut unique = all.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), all.len());
        let error = named(&["register".to_owned(), "regsiter".to_owned()]).err().unwrap();
        assert!(error.to_string().starts_with("there is no row regsiter; there are: register"), "{error}");
    }
}
