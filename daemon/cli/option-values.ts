// Reads the values of options that are numbers or times.
import { fail } from '../errors/fail.ts';

type Value = string | boolean | undefined;

/** A whole number; undefined when the option is missing. Throws `usage`. */
export function countOf(
  command: string,
  option: string,
  value: Value,
  { min, max }: { readonly min: number; readonly max: number },
): number | undefined {
  if (typeof value !== 'string') return undefined;
  const count = /^\d{1,9}$/.test(value) ? Number(value) : NaN;
  if (count >= min && count <= max) return count;
  throw refused(command, option, value, `a whole number from ${String(min)} to ${String(max)}`);
}

/** Seconds, as ms; undefined when the option is missing. Throws `usage`. */
export function secondsOf(command: string, option: string, value: Value): number | undefined {
  if (typeof value !== 'string') return undefined;
  const seconds = Number(value);
  if (Number.isFinite(seconds) && seconds >= 0 && value.trim() !== '') return seconds * 1000;
  throw refused(command, option, value, 'a number of seconds');
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time as in `30s` or `5m`, or seconds, as ms; undefined when the option is missing. Throws `usage`. */
export function lengthOf(command: string, option: string, value: Value): number | undefined {
  if (typeof value !== 'string') return undefined;
  const [, number = '', unit = 's'] = /^(\d{1,6})([smhd])?$/.exec(value) ?? [];
  if (number !== '') return Number(number) * (UNITS[unit] ?? 0);
  throw refused(command, option, value, 'a time such as 30s, 5m or 2h');
}

/** A time before now, as in `10m`, or a date, as ms since 1970; undefined when the option is missing. Throws `usage`. */
export function timeOf(command: string, option: string, value: Value, nowMs: number): number | undefined {
  if (typeof value !== 'string') return undefined;
  const [, number = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(value) ?? [];
  if (number !== '') return nowMs - Number(number) * (UNITS[unit] ?? 0);
  const ms = /^\d{4}-\d\d-\d\d/.test(value) ? Date.parse(value) : NaN;
  if (!Number.isNaN(ms)) return ms;
  throw refused(command, option, value, 'a time such as 90s, 10m, 2h, 1d or 2026-11-28T12:00');
}

function refused(command: string, option: string, value: string, wanted: string) {
  return fail('usage', {
    why: `bmuxd ${command}: --${option}: '${value}' is not ${wanted}`,
    command: `bmuxd ${command}`,
  });
}
