//! Pictures of a run: throughput by work and server, and latency against offered load.

use crate::report::{Measure, Row};
use plotters::prelude::*;
use std::io;
use std::path::{Path, PathBuf};

/// Draws what the rows have; tells the files.
pub fn draw(rows: &[Row], stem: &Path) -> io::Result<Vec<PathBuf>> {
    let mut drawn = Vec::new();
    let throughput: Vec<&Row> =
        rows.iter().filter(|row| row.has(Measure::RateK) && !row.has(Measure::OfferedK)).collect();
    if !throughput.is_empty() {
        let path = named(stem, "throughput");
        bars(&throughput, &path).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))?;
        drawn.push(path);
    }
    for row in rows.iter().filter(|row| row.has(Measure::OfferedK)) {
        let path = named(stem, "latency");
        curves(row, &path).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))?;
        drawn.push(path);
    }
    Ok(drawn)
}

fn named(stem: &Path, what: &str) -> PathBuf {
    let name = stem.file_name().unwrap_or_default().to_string_lossy();
    stem.with_file_name(format!("{name}-{what}.svg"))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Groups of bars, a group for each work; the scale is logarithmic, because pipelines lie orders of magnitude apart.
fn bars(rows: &[&Row], path: &Path) -> Drawn {
    let servers: Vec<&str> = rows[0].servers.iter().map(|s| s.server.as_str()).collect();
    let rates = || rows.iter().flat_map(|row| &row.servers).filter_map(|s| s.median(Measure::RateK));
    let (low, high) = (rates().fold(f64::MAX, f64::min), rates().fold(1.0, f64::max));
    let size = (WIDTH.max(rows.len() as u32 * 60 + 200), HEIGHT);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Throughput, thousand commands per second", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(70)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..rows.len() as f64, (low / 2.0..high * 2.0).log_scale())?;
    let name = |x: &f64| rows.get(*x as usize).map(|row| row.name.clone()).unwrap_or_default();
    chart.configure_mesh().disable_x_mesh().x_labels(rows.len()).x_label_formatter(&name).draw()?;
    let step = 0.8 / servers.len() as f64;
    for (i, server) in servers.iter().enumerate() {
        let color = Palette99::pick(i).filled();
        let bars = rows.iter().enumerate().filter_map(|(n, row)| {
            let rate = row.servers.iter().find(|s| s.server == *server)?.median(Measure::RateK)?;
            let left = n as f64 + 0.1 + i as f64 * step;
            Some(Rectangle::new([(left, low / 2.0), (left + step * 0.9, rate)], color))
        });
        chart
            .draw_series(bars)?
            .label(*server)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], color));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

/// A line for each server: p99.9 over the load that was offered.
fn curves(row: &Row, path: &Path) -> Drawn {
    let points = |server: &crate::report::Rounds| -> Vec<(f64, f64)> {
        let value =
            |reading: &crate::report::Reading, measure| reading.iter().find(|(m, _)| *m == measure).map(|(_, v)| *v);
        let both = |r| value(r, Measure::OfferedK).zip(value(r, Measure::P999Us));
        let mut points: Vec<(f64, f64)> = server.readings.iter().filter_map(both).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let all: Vec<(f64, f64)> = row.servers.iter().flat_map(points).collect();
    let right = all.iter().fold(1.0, |max, (x, _)| f64::max(max, *x));
    let (low, high) = all.iter().fold((f64::MAX, 1.0), |(l, h), (_, y)| (f64::min(l, *y), f64::max(h, *y)));
    let area = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&row.name, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..right * 1.05, (low / 2.0..high * 2.0).log_scale())?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("thousand requests per second offered").y_desc("p99.9, microseconds").draw()?;
    for (i, server) in row.servers.iter().enumerate().filter(|(_, s)| !s.readings.is_empty()) {
        let color = Palette99::pick(i).stroke_width(2);
        let line = LineSeries::new(points(server), color).point_size(3);
        chart
            .draw_series(line)?
            .label(&server.server)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 15, y)], color));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 600;
