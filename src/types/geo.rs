//! Places on Earth as sorted-set scores, and how far they are from each other. Pure.
//!
//! A place is a geohash of 52 bits: longitude and latitude, 26 bits each, interleaved, latitude in the lower of each
//! pair. Latitudes end at 85.05112878 degrees, where the Mercator square does. A search covers a shape by the cell that
//! its centre is in and the eight around, of a size to go with the shape; every cell is one range of scores.
//! Distances: haversine on a sphere. Digits are a promise: the order of operations is Redis's, and so are its quirks.
//! Source of the format: geohash.org; of the bit interleaving: Sean Anderson's "Bit Twiddling Hacks".

use std::ops::Range;

/// A place in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    /// A place that can be encoded.
    pub fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let valid = longitude.abs() <= LONGITUDE_MAX && latitude.abs() <= LATITUDE_MAX;
        valid.then_some(Self { longitude, latitude })
    }

    /// The place that a score stands for: the middle of its cell. Any score stands for one.
    pub fn of_score(score: f64) -> Self {
        // What C's conversion does: negative numbers wrap, numbers beyond every integer are a large power of two.
        let bits = if score >= TWO_TO_63 {
            if score < 2.0 * TWO_TO_63 { score as u64 } else { 0 }
        } else if score < -TWO_TO_63 {
            1 << 63
        } else {
            score as i64 as u64
        };
        let area = Cell { bits, step: STEP_MAX }.area();
        Self {
            longitude: ((area.west + area.east) / 2.0).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: ((area.south + area.north) / 2.0).clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    /// The score that stands for this place.
    pub fn score(self) -> f64 {
        Cell::around(self, STEP_MAX).bits as f64
    }

    /// The eleven characters of the geohash as the rest of the world writes it; the last one is always `0`.
    pub fn geohash(self) -> [u8; 11] {
        let bits = interleaved(self, STEP_MAX, 90.0);
        std::array::from_fn(|i| {
            let index = if i == 10 { 0 } else { bits >> (52 - 5 * (i + 1)) & 31 };
            GEOHASH_DIGITS[index as usize]
        })
    }

    /// Metres to another place.
    pub fn distance(self, other: Self) -> f64 {
        let v = ((other.longitude * RADIANS - self.longitude * RADIANS) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (lat1, lat2) = (self.latitude * RADIANS, other.latitude * RADIANS);
        let u = ((lat2 - lat1) / 2.0).sin();
        let a = u * u + lat1.cos() * lat2.cos() * v * v;
        2.0 * EARTH_RADIUS * a.sqrt().asin()
    }
}

/// Opposite ends of the Earth may be no number of metres apart, by rounding; that is not beyond anything.
fn is_within(distance: f64, limit: f64) -> bool {
    distance <= limit || distance.is_nan()
}

fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS * (b * RADIANS - a * RADIANS).abs()
}

/// What a search covers, in a unit of `metres` metres.
#[derive(Clone, Debug)]
pub struct Shape {
    pub centre: Point,
    pub extent: Extent,
    pub metres: f64,
}

#[derive(Clone, Debug)]
pub enum Extent {
    Radius(f64),
    Box {
        width: f64,
        height: f64,
    },
    /// Its corners, in order; sides are straight lines between degrees.
    Polygon(Vec<Point>),
}

impl Shape {
    /// Metres from the centre to a place, if it is inside.
    pub fn reach(&self, place: Point) -> Option<f64> {
        match &self.extent {
            Extent::Radius(radius) => {
                Some(self.centre.distance(place)).filter(|&distance| is_within(distance, radius * self.metres))
            }
            Extent::Box { width, height } => {
                let (width, height) = (width * self.metres, height * self.metres);
                // A latitude's distance is the cheaper one.
                if latitude_distance(place.latitude, self.centre.latitude) > height / 2.0 {
                    return None;
                }
                let beside = Point { longitude: self.centre.longitude, latitude: place.latitude };
                is_within(place.distance(beside), width / 2.0).then(|| self.centre.distance(place))
            }
            Extent::Polygon(corners) => holds(corners, place).then(|| self.centre.distance(place)),
        }
    }

    /// Ranges of scores that together hold every place inside, in the order in which they are searched.
    pub fn ranges(&self) -> impl Iterator<Item = Range<f64>> {
        let mut previous: Option<Cell> = None;
        self.cells().into_iter().enumerate().filter_map(move |(i, cell)| {
            // Around a huge shape neighbours may be the same cell. The centre's is not compared with, as in Redis.
            let cell = cell.filter(|_| previous != cell)?;
            if i > 0 {
                previous = Some(cell);
            }
            let (low, high) = (cell.score(), Cell { bits: cell.bits.wrapping_add(1), ..cell }.score());
            Some(low as f64..high as f64)
        })
    }

    /// The centre's cell and those around it that the shape can reach into: centre, north, south, east, west, and the
    /// corners from the north-east.
    fn cells(&self) -> [Option<Cell>; 9] {
        let bounds = self.bounds();
        if matches!(self.extent, Extent::Polygon(_)) {
            return covering(&bounds);
        }
        if bounds.south <= -POLE || bounds.north >= POLE {
            return around_a_pole(&bounds, Cell::around(self.centre, 1));
        }
        let radius = match &self.extent {
            Extent::Radius(radius) => *radius,
            Extent::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
            Extent::Polygon(_) => unreachable!("its cells are those of its bounds"),
        };
        let mut step = step_for(radius * self.metres, self.centre.latitude);
        let mut centre = Cell::around(self.centre, step);
        let too_small = centre.moved(0, 1).area().north < bounds.north
            || centre.moved(0, -1).area().south > bounds.south
            || centre.moved(1, 0).area().east < bounds.east
            || centre.moved(-1, 0).area().west > bounds.west;
        if step > 1 && too_small {
            step -= 1;
            centre = Cell::around(self.centre, step);
        }
        let area = centre.area();
        // Where the shape ends inside the centre's cell, nothing is to be found beyond. Cells of a step are too few.
        let prune = step >= 2;
        NEIGHBOURS.map(|(east, north)| {
            let useless = prune
                && (north < 0 && area.south < bounds.south
                    || north > 0 && area.north > bounds.north
                    || east < 0 && area.west < bounds.west
                    || east > 0 && area.east > bounds.east);
            (!useless).then(|| centre.moved(east, north))
        })
    }

    /// The shape's bounding box; one that reaches beyond a pole has all longitudes. Its sides are measured where it is widest on its hemisphere.
    fn bounds(&self) -> Area {
        let (width, height) = match &self.extent {
            Extent::Radius(radius) => (self.metres * radius, self.metres * radius),
            Extent::Box { width, height } => (self.metres * (width / 2.0), self.metres * (height / 2.0)),
            Extent::Polygon(corners) => return Area::around(corners),
        };
        let Point { longitude, latitude } = self.centre;
        let up = height / EARTH_RADIUS / RADIANS;
        let widest = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = width / EARTH_RADIUS / (widest * RADIANS).cos() / RADIANS;
        Area { west: longitude - aside, east: longitude + aside, south: latitude - up, north: latitude + up }
    }
}

/// The quarters of the world that a shape reaches into which holds a pole: all longitudes meet there, which three cells
/// of a smaller size do not span. (Real servers look at the cells around the centre, and miss what is beyond the pole.)
/// The centre's quarter comes first.
fn around_a_pole(bounds: &Area, centre: Cell) -> [Option<Cell>; 9] {
    let quarter = |bits| {
        let (cell, area) = (Cell { bits, step: 1 }, Cell { bits, step: 1 }.area());
        (area.south <= bounds.north && area.north >= bounds.south).then_some(cell)
    };
    std::array::from_fn(|i| if i < 4 { quarter(i as u64 ^ centre.bits) } else { None })
}

/// The one to four cells that a box of degrees lies in, of the size that it fits into.
fn covering(bounds: &Area) -> [Option<Cell>; 9] {
    let fits = |step: &u32| {
        let cells = (1u64 << step) as f64;
        let (width, height) = (2.0 * LONGITUDE_MAX / cells, 2.0 * LATITUDE_MAX / cells);
        bounds.east - bounds.west <= width && bounds.north - bounds.south <= height
    };
    let step = (1..=STEP_MAX).rev().find(fits).unwrap_or(1);
    let cell = |longitude, latitude| Cell::around(Point { longitude, latitude }, step);
    let [first, east, north] = [(bounds.west, bounds.south), (bounds.east, bounds.south), (bounds.west, bounds.north)]
        .map(|(x, y)| cell(x, y));
    let (is_wide, is_high) = (east != first, north != first);
    let last = cell(bounds.east, bounds.north);
    let mut cells = [None; 9];
    cells[0] = Some(first);
    cells[1] = is_wide.then_some(east);
    cells[2] = is_high.then_some(north);
    cells[3] = (is_wide && is_high).then_some(last);
    cells
}

/// Whether a polygon holds a place: a ray to the east crosses an odd number of its sides (W. R. Franklin's PNPOLY).
fn holds(corners: &[Point], place: Point) -> bool {
    let Some(last) = corners.last() else { return false };
    let (mut inside, mut before) = (false, last);
    for corner in corners {
        let spans = (corner.latitude > place.latitude) != (before.latitude > place.latitude);
        let run = (before.longitude - corner.longitude) * (place.latitude - corner.latitude);
        if spans && place.longitude < run / (before.latitude - corner.latitude) + corner.longitude {
            inside = !inside;
        }
        before = corner;
    }
    inside
}

/// The centre of places: where the sum of their directions from the middle of the Earth points.
pub fn centre(places: &[Point]) -> Point {
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for place in places {
        let (longitude, latitude) = (place.longitude * RADIANS, place.latitude * RADIANS);
        x += latitude.cos() * longitude.cos();
        y += latitude.cos() * longitude.sin();
        z += latitude.sin();
    }
    Point { longitude: f64::atan2(y, x) / RADIANS, latitude: f64::atan2(z, (x * x + y * y).sqrt()) / RADIANS }
}

/// Degrees.
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Area {
    /// The smallest one with all these places.
    fn around(places: &[Point]) -> Self {
        let none = f64::INFINITY;
        places.iter().fold(Self { west: none, east: -none, south: none, north: -none }, |area, place| Self {
            west: area.west.min(place.longitude),
            east: area.east.max(place.longitude),
            south: area.south.min(place.latitude),
            north: area.north.max(place.latitude),
        })
    }
}

/// A cell of the grid: `step` bits of each coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    step: u32,
}

impl Cell {
    fn around(place: Point, step: u32) -> Self {
        Self { bits: interleaved(place, step, LATITUDE_MAX), step }
    }

    fn area(self) -> Area {
        let (low, high) = (gathered(self.bits), gathered(self.bits >> 1));
        let cells = (1u64 << self.step) as f64;
        let place = |cell: u32, max: f64| -max + (f64::from(cell) / cells) * (max - -max);
        Area {
            west: place(high, LONGITUDE_MAX),
            east: place(high.wrapping_add(1), LONGITUDE_MAX),
            south: place(low, LATITUDE_MAX),
            north: place(low.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The cell next to this one; beyond the last comes the first.
    fn moved(self, east: i64, north: i64) -> Self {
        let mask = (1u64 << self.step) - 1;
        // Places on the last edge have one bit more, which only a move takes away.
        let step = |bits: u64, by: i64| {
            let cell = u64::from(gathered(bits));
            if by == 0 { cell } else { cell.wrapping_add_signed(by) & mask }
        };
        let (low, high) = (step(self.bits, north), step(self.bits >> 1, east));
        Self { bits: spread(low as u32) | spread(high as u32) << 1, ..self }
    }

    /// The lowest score in the cell.
    fn score(self) -> u64 {
        self.bits << (2 * (STEP_MAX - self.step))
    }
}

/// A place's bits, `step` of each coordinate, with latitudes up to `latitude_max`.
fn interleaved(place: Point, step: u32, latitude_max: f64) -> u64 {
    let cells = (1u64 << step) as f64;
    let latitude = (place.latitude - -latitude_max) / (latitude_max - -latitude_max);
    let longitude = (place.longitude - -LONGITUDE_MAX) / (LONGITUDE_MAX - -LONGITUDE_MAX);
    spread((latitude * cells) as u32) | spread((longitude * cells) as u32) << 1
}

/// Puts a zero above every bit.
fn spread(bits: u32) -> u64 {
    SPREAD.iter().fold(u64::from(bits), |bits, &(shift, mask)| (bits | bits << shift) & mask)
}

/// Takes every second bit, from the lowest on.
fn gathered(bits: u64) -> u32 {
    let mut bits = bits & SPREAD[4].1;
    for i in (0..5).rev() {
        let mask = if i == 0 { u64::from(u32::MAX) } else { SPREAD[i - 1].1 };
        bits = (bits | bits >> SPREAD[i].0) & mask;
    }
    bits as u32
}

const SPREAD: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, 0x5555_5555_5555_5555),
];

/// Bits of a coordinate in cells that three by three cover a circle of this radius.
fn step_for(metres: f64, latitude: f64) -> u32 {
    if metres == 0.0 {
        return STEP_MAX;
    }
    let (mut metres, mut step) = (metres, 1i32);
    while metres < MERCATOR_HALF && step < 64 {
        metres *= 2.0;
        step += 1;
    }
    // Two steps larger, so that the circle fits in most cases; cells get narrow towards the poles.
    step -= 2;
    step -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    step.clamp(1, STEP_MAX as i32) as u32
}

/// East and north of the centre.
const NEIGHBOURS: [(i64, i64); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
const STEP_MAX: u32 = 26;
const LONGITUDE_MAX: f64 = 180.0;
const LATITUDE_MAX: f64 = 85.05112878;
const RADIANS: f64 = std::f64::consts::PI / 180.0;
/// Metres.
const EARTH_RADIUS: f64 = 6372797.560856;
/// Half the width of the Mercator square, metres.
const POLE: f64 = 90.0;
const MERCATOR_HALF: f64 = 20037726.37;
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
const GEOHASH_DIGITS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn a_search_beyond_a_pole_finds_what_lies_there() {
        for pole in [-1.0, 1.0] {
            let centre = Point { longitude: 0.0, latitude: 85.0 * pole };
            let found = |metres: f64, place: Point| {
                let shape = Shape { centre, extent: Extent::Radius(metres), metres: 1.0 };
                let covered = shape.ranges().filter(|range| range.contains(&place.score())).count();
                (covered, shape.reach(place).is_some())
            };
            assert_eq!(found(622_786.0, Point { longitude: -50.0, latitude: 85.0 * pole }), (1, true));
            assert_eq!(found(1_200_000.0, Point { longitude: 179.0, latitude: 84.9 * pole }), (1, true));
            assert!(!found(622_786.0, Point { longitude: -50.0, latitude: 60.0 * pole }).1);
        }
    }

    #[test]
    fn places_have_the_scores_and_distances_that_redis_documents() {
        assert_eq!((PALERMO.score(), CATANIA.score()), (3479099956230698.0, 3479447370796909.0));
        let (palermo, catania) = (Point::of_score(PALERMO.score()), Point::of_score(CATANIA.score()));
        assert_eq!(palermo.distance(catania), 166274.15156960033);
        assert_eq!((&palermo.geohash(), &catania.geohash()), (b"sqc8b49rny0", b"sqdtr74hyu0"));
    }

    proptest! {
        #[test]
        fn a_search_finds_every_place_inside(
            lon in -175.0..175.0f64, lat in -70.0..70.0f64, away_lon in -3.0..3.0f64, away_lat in -3.0..3.0f64, km in 1.0..600.0f64,
        ) {
            let centre = Point::new(lon, lat).unwrap();
            let place = Point::of_score(Point::new(lon + away_lon, lat + away_lat).unwrap().score());
            for extent in [Extent::Radius(km), Extent::Box { width: km, height: km / 2.0 }] {
                let shape = Shape { centre, extent, metres: 1000.0 };
                if shape.reach(place).is_some() {
                    prop_assert!(shape.ranges().any(|range| range.contains(&place.score())), "{shape:?} {place:?}");
                }
            }
        }

        #[test]
        fn a_polygon_is_found_whole(
            lon in -150.0..150.0f64, lat in -70.0..70.0f64, size in 0.001..30.0f64,
            corners in prop::collection::vec((-1.0..1.0f64, -1.0..1.0f64), 3..8), at in (-1.0..1.0f64, -1.0..1.0f64),
        ) {
            let place = |(x, y): (f64, f64)| Point { longitude: lon + size * x, latitude: lat + size / 2.0 * y };
            let corners: Vec<Point> = corners.into_iter().map(place).collect();
            let place = Point::of_score(place(at).score());
            let shape = Shape { centre: centre(&corners), extent: Extent::Polygon(corners), metres: 1.0 };
            if shape.reach(place).is_some() {
                prop_assert_eq!(shape.ranges().filter(|range| range.contains(&place.score())).count(), 1);
            }
        }

        #[test]
        fn a_score_is_its_place(lon in -180.0..180.0f64, lat in -85.0..85.0f64, any: f64) {
            let place = Point::new(lon, lat).unwrap();
            prop_assert_eq!(Point::of_score(place.score()).score(), place.score());
            prop_assert!(Point::of_score(place.score()).distance(place) < 1.0);
            let place = Point::of_score(any);
            prop_assert!(Point::new(place.longitude, place.latitude).is_some());
        }
    }
}
