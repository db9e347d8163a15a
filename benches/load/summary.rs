//! The end of a run: how many targets were reached, which were not, and one plain sentence.

use crate::peers::Family;
use crate::report::{Measure, Row, Verdict, median};

/// The last lines of a run. `machine` says whether it was quiet.
pub fn print(rows: &[Row], machine: &str) {
    let verdicts: Vec<(&str, Verdict)> =
        rows.iter().flat_map(|row| row.verdicts().into_iter().map(|v| (row.name.as_str(), v))).collect();
    let reached = verdicts.iter().filter(|(_, v)| v.reached).count();
    println!("\n{reached} of {} targets reached", verdicts.len());
    for (name, verdict) in verdicts.iter().filter(|(_, v)| !v.reached) {
        println!("  {name}: {}", verdict.text);
    }
    println!("{}", sentence(rows, machine));
}

/// How memkv stands beside the better of Redis and Valkey in each row that has a throughput.
fn sentence(rows: &[Row], machine: &str) -> String {
    let rates: Vec<(f64, &str)> = rows.iter().filter_map(|row| Some((rate(row)?, row.name.as_str()))).collect();
    let (Some(half), Some(least), Some(most)) = (
        median(rates.iter().map(|(ratio, _)| *ratio).collect()),
        rates.iter().map(|(ratio, _)| *ratio).min_by(f64::total_cmp),
        rates.iter().map(|(ratio, _)| *ratio).max_by(f64::total_cmp),
    ) else {
        return format!("In short: no throughput was compared with Redis or Valkey, and {machine}.");
    };
    let span = match rates.len() {
        1 => format!("{half:.2} times as many commands per second as the better of Redis and Valkey"),
        n => format!(
            "{half:.2} times as many commands per second as the better of Redis and Valkey in the median of {n} rows \
             ({least:.2} to {most:.2})"
        ),
    };
    let cpu = median(rows.iter().filter_map(cpu).collect());
    let cpu = cpu.map(|ratio| format!(" with {ratio:.2} of the CPU time per command")).unwrap_or_default();
    let slower: Vec<&str> = rates.iter().filter(|(ratio, _)| *ratio < 1.0).map(|(_, name)| *name).collect();
    let slower = match slower.as_slice() {
        [] => "slower in none".to_owned(),
        [first @ .., last] if slower.len() <= NAMED_MAX => {
            let names = if first.is_empty() { (*last).to_owned() } else { format!("{} and {last}", first.join(", ")) };
            format!("slower in {names}")
        }
        _ => format!("slower in {} of them", slower.len()),
    };
    format!("In short: memkv served {span}{cpu}, {slower}, and {machine}.")
}

fn rate(row: &Row) -> Option<f64> {
    let peers = row.of_family(Family::Redis, Measure::RateK).into_iter().map(|(_, value)| value);
    Some(own(row, Measure::RateK)? / peers.max_by(f64::total_cmp)?)
}

fn cpu(row: &Row) -> Option<f64> {
    let peers = row.of_family(Family::Redis, Measure::CpuUs).into_iter().map(|(_, value)| value);
    Some(own(row, Measure::CpuUs)? / peers.min_by(f64::total_cmp)?)
}

fn own(row: &Row, measure: Measure) -> Option<f64> {
    row.of_family(Family::Memkv, measure).first().map(|(_, value)| *value)
}

/// More rows than this are counted.
const NAMED_MAX: usize = 3;

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;
    use crate::report::Rounds;

    fn row(name: &str, rates: &[(&str, Family, f64)]) -> Row {
        let mut row = Row::new(name, &[], &[]);
        for (server, family, rate) in rates {
            let readings = vec![vec![(Measure::RateK, *rate), (Measure::CpuUs, 1.0 / rate)]];
            row.servers.push(Rounds { server: (*server).into(), family: *family, readings });
        }
        row
    }

    fn beside(name: &str, own: f64) -> Row {
        let peers = [("8.2", Family::Redis, 50.0), ("valkey", Family::Redis, 100.0), ("null", Family::Null, 900.0)];
        row(name, &[&[("memkv", Family::Memkv, own)][..], &peers].concat())
    }

    #[test]
    fn one_sentence_about_the_better_peer() {
        let rows = [beside("GET", 200.0), beside("SET", 90.0), beside("MGET", 300.0)];
        let start = "In short: memkv served 2.00 times as many commands per second as the better of Redis and Valkey in the \
                     median of 3 rows (0.90 to 3.00) with 0.50 of the CPU time per command";
        assert_eq!(sentence(&rows, "it was quiet"), format!("{start}, slower in SET, and it was quiet."));
        let alone = sentence(&rows[..1], "it was quiet");
        assert!(alone.contains("better of Redis and Valkey with 0.50") && alone.contains("slower in none"), "{alone}");
        let many: Vec<Row> = ["a", "b", "c", "d"].map(|name| beside(name, 50.0)).into();
        assert!(sentence(&many, "").contains("slower in 4 of them"));
        assert!(sentence(&many[..2], "").contains("slower in a and b"));
    }

    #[test]
    fn without_peers_nothing_is_claimed() {
        let rows = [row("GET", &[("memkv", Family::Memkv, 1.0), ("null", Family::Null, 2.0)])];
        assert_eq!(sentence(&rows, "m"), "In short: no throughput was compared with Redis or Valkey, and m.");
    }
}
