// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value: number): string => whole.format(value);
export const compact = (value: number): string => (Math.abs(value) < 10_000 ? whole.format(value) : short.format(value));
export const rate = (value: number): string => (value < 10 ? tenth.format(value) : compact(value));

export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? whole.format(value) : tenth.format(value)} ${units[unit]}`;
}

/** A duration in microseconds. */
export function duration(us: number): string {
  if (us < 1_000) return `${whole.format(us)} µs`;
  if (us < 1_000_000) return `${tenth.format(us / 1_000)} ms`;
  if (us < 120_000_000) return `${tenth.format(us / 1_000_000)} s`;
  return `${whole.format(us / 60_000_000)} min`;
}

/** The time of day of a time in microseconds since 1970. */
export function clock(us: number): string {
  const date = new Date(us / 1_000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const ms = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}
