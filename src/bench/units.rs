//! Figures as people read them: three digits, and a unit that fits.

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const GIB: f64 = 1024.0 * MIB;

/// A number of things: `53,300`, `2.21 M`.
pub fn count(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1e7 => format!("{} M", digits(figure / 1e6)),
        size if size >= 1e3 => grouped(figure),
        _ => digits(figure),
    }
}

/// A time: `16.2 µs`, `1.42 s`.
pub fn seconds(figure: f64) -> String {
    let (scale, unit) = match figure.abs() {
        size if size == 0.0 || size >= 1.0 => (1.0, "s"),
        size if size >= 1e-3 => (1e3, "ms"),
        size if size >= 1e-6 => (1e6, "µs"),
        _ => (1e9, "ns"),
    };
    format!("{} {unit}", digits(figure * scale))
}

/// An amount of memory: `490 B`, `1.2 MiB`.
pub fn bytes(figure: f64) -> String {
    let (scale, unit) = match figure.abs() {
        size if size >= GIB => (GIB, "GiB"),
        size if size >= MIB => (MIB, "MiB"),
        size if size >= 10.0 * KIB => (KIB, "KiB"),
        _ => (1.0, "B"),
    };
    format!("{} {unit}", digits(figure / scale))
}

/// Three digits that count.
pub fn digits(figure: f64) -> String {
    match figure.abs() {
        size if size >= 99.95 => format!("{figure:.0}"),
        size if size >= 9.995 => format!("{figure:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

/// Of a number below ten million, in groups of three digits, to four that count.
fn grouped(figure: f64) -> String {
    let magnitude = 10f64.powi(figure.abs().log10().floor() as i32 - 3).max(1.0);
    let whole = ((figure / magnitude).round() * magnitude) as i64;
    let text = whole.abs().to_string();
    let mut shown = String::new();
    if whole < 0 {
        shown.push('-');
    }
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(count(53_312.4), "53,310");
        assert_eq!(count(2_214_400.0), "2,214,000");
        assert_eq!(count(22_144_000.0), "22.1 M");
        assert_eq!(count(999.6), "1000");
        assert_eq!(count(-1234.0), "-1,234");
        assert_eq!(count(0.0), "0.00");
        assert_eq!(seconds(0.000_016_24), "16.2 µs");
        assert_eq!(seconds(0.000_000_44), "440 ns");
        assert_eq!(seconds(1.4), "1.40 s");
        assert_eq!(seconds(0.0), "0.00 s");
        assert_eq!(bytes(490.0), "490 B");
        assert_eq!(bytes(1_300_000.0), "1.24 MiB");
        assert_eq!(digits(0.0123), "0.012");
    }
}
