// Counts the assertions of a TAP stream (version 14, as tap's runner writes it), and not its files or subtests. The point of a failed subtest
// counts only when no point inside it has failed.

const POINT = /^( *)(not )?ok \d+(?: - ((?:\\.|[^\\#])*?))?\s*(?:# (.*))?$/;
const SUBTEST = /^( *)# Subtest: (.*)$/;
const INDENT = 4;

export class Tally {
  passed = 0;
  failed = 0;
  /** `{ path, reason }`. A TODO counts as skipped. */
  skipped = [];
  /** `{ name, ms }`, one per test file. */
  files = [];
  #path = [];
  /** Failures per depth since the last point of the depth above. A depth without a point has no entry. */
  #failures = [];
  /** The indent of the diagnosis that is being read, or undefined. */
  #diagnosis;
  #lastFailed = false;
  #say;

  /** `say(line)` is called at once for each line of a failure and its diagnosis. */
  constructor(say) {
    this.#say = say;
  }

  /** Takes one line, without its end. */
  line(line) {
    if (this.#isDiagnosis(line)) return;
    const subtest = SUBTEST.exec(line);
    if (subtest !== null) {
      const depth = subtest[1].length / INDENT;
      this.#path[depth] = unescape(subtest[2]);
      this.#failures.length = depth + 1;
      return;
    }
    const point = POINT.exec(line);
    if (point !== null && point[1].length % INDENT === 0) this.#point(point);
  }

  #point([, indent, not, rawName = '', directive = '']) {
    const depth = indent.length / INDENT;
    const name = unescape(rawName);
    const path = [...this.#path.slice(0, depth), name].join(' > ');
    // A subtest that was cut short has no point of its own, so all deeper depths count, not only the next one.
    const deeper = this.#failures.slice(depth + 1);
    const inside = deeper.length === 0 ? undefined : deeper.reduce((sum, count) => sum + count, 0);
    this.#failures.length = depth + 1;
    this.#failures[depth] = (this.#failures[depth] ?? 0) + (inside ?? 0);
    if (depth === 0) this.files.push({ name, ms: Number(/time=([\d.]+)ms/.exec(directive)?.[1] ?? 0) });
    const waived = /^(skip|todo)\b:?\s*(.*)$/i.exec(directive);
    this.#lastFailed = false;
    if (waived !== null) {
      const [, kind, reason] = waived;
      this.skipped.push({ path, reason: reason || (/todo/i.test(kind) ? 'to do' : 'no reason given') });
    } else if (not === undefined) {
      if (inside === undefined) this.passed += 1;
    } else if ((inside ?? 0) === 0) {
      this.failed += 1;
      this.#failures[depth] += 1;
      this.#lastFailed = true;
      this.#say(`not ok - ${path}`);
    }
  }

  /** YAML after a point. It is shown for a failure. It is never read as points, although it may quote some. */
  #isDiagnosis(line) {
    if (this.#diagnosis === undefined) {
      if (!/^ *---$/.test(line)) return false;
      this.#diagnosis = line.length - 3;
    } else if (line.length === this.#diagnosis + 3 && line.endsWith('...')) {
      this.#diagnosis = undefined;
    } else if (this.#lastFailed) {
      this.#say(`    ${line.slice(this.#diagnosis)}`);
    }
    return true;
  }
}

function unescape(name) {
  return name.replace(/\\(.)/g, '$1').trim();
}
