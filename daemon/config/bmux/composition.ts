// [composition]: which profile is active and in which order its patch and the config are applied (docs/bmux-protocol.md, "Composition").
import { fail } from '../../errors/fail.ts';
import { checked, CompositionSchema, misfitKey, type CompositionTable } from './schema.ts';
import { merged, tableAt, valueAt, type Table } from '../files/table.ts';
import { lineOf, type Doc } from '../files/toml.ts';

/** The facts that `auto_select` rules are matched against. */
export interface Facts {
  /** The caller's working directory. */
  readonly cwd?: string | undefined;
  /** TERM of the caller. */
  readonly term?: string | undefined;
  /** HOSTNAME, else HOST, of the environment. Empty when neither is set; then no rule with a host matches [measured]. */
  readonly host: string;
  /** `linux` or `macos`. */
  readonly os: string;
  /** BMUX_RUNTIME of the environment; not BMUX_RUNTIME_NAME [measured]. */
  readonly runtimeName: string;
}

/** A table that is applied: a whole file, or the patch of a profile in it. */
export interface Applied {
  readonly doc: Doc;
  /** Path of the table in the file; empty for the whole file. */
  readonly under: readonly string[];
}

/** Profiles built into bmux. They patch only key bindings and appearance, which are not used here. */
const BUILT_IN = ['tmux_compat', 'vim', 'zellij_compat'];

const ROOT = 'composition';
/** Maximum depth of `extends`. */
const MAX_DEPTH = 64;

interface Profile {
  /** The key as the files spell it; ids are compared trimmed and in lower case. */
  readonly key: string;
  readonly extends: readonly string[];
}

/** ASCII letters only, as bmux compares. */
function lower(text: string): string {
  return text.replace(/[A-Z]/gu, (letter) => letter.toLowerCase());
}

function canonical(id: string): string {
  return lower(id.trim());
}

/** A failure that names the highest file that has the key. */
function invalid(docs: readonly Doc[], path: readonly string[], why: string) {
  const doc = docs.findLast(({ table }) => valueAt(table, path) !== undefined) ?? docs.at(-1);
  return fail('composition_invalid', {
    file: doc?.file ?? '',
    line: doc === undefined ? 1 : lineOf(doc.text, path),
    why,
  });
}

function readComposition(docs: readonly Doc[]): CompositionTable {
  let root: unknown = {};
  for (const { table } of docs) {
    const own = valueAt(table, [ROOT]);
    if (own !== undefined) root = merged(root, own);
  }
  const result = checked(CompositionSchema, root);
  if ('value' in result) return result.value;
  throw invalid(docs, [ROOT, ...result.path], `${misfitKey(result, [ROOT])}: ${result.why}`);
}

type Rule = NonNullable<CompositionTable['auto_select']>[number];

function fits(rule: Rule, facts: Facts): boolean {
  const { cwd_prefix: cwdPrefix, term_prefix: termPrefix, host, os, runtime } = rule;
  if (cwdPrefix !== undefined && facts.cwd?.startsWith(cwdPrefix) !== true) return false;
  if (host !== undefined && lower(host) !== lower(facts.host)) return false;
  if (os !== undefined && lower(os) !== lower(facts.os)) return false;
  if (termPrefix !== undefined && !lower(facts.term ?? '').startsWith(lower(termPrefix))) return false;
  return runtime === undefined || lower(runtime) === lower(facts.runtimeName);
}

/** Whether the result depends on the caller's working directory and TERM: by a rule, or by `$PWD` in a path. */
export function dependsOnCaller(docs: readonly Doc[]): boolean {
  return docs.some(
    ({ table, text }) => valueAt(table, [ROOT, 'auto_select']) !== undefined || /\$\{?PWD\b/u.test(text),
  );
}

/** All tables in the order in which they are applied, lowest first. Fails with `composition_invalid`. */
export function appliedOrder(docs: readonly Doc[], facts: Facts): Applied[] {
  const composition = readComposition(docs);
  const profiles = new Map<string, Profile>(BUILT_IN.map((id) => [id, { key: id, extends: [] }]));
  for (const key of Object.keys(composition.profiles ?? {}).sort()) {
    const id = canonical(key);
    if (id === '') throw invalid(docs, [ROOT, 'profiles', key], 'profile id must not be empty');
    profiles.set(id, { key, extends: composition.profiles?.[key]?.extends ?? [] });
  }

  /**
   * Collects the patches of a profile and of the profiles it extends, highest first. A patch shared by several parents is applied once, at its
   * last position. The result is the same as applying it each time, and takes linear time. `asked`: key path of the profile's name.
   */
  const collect = (
    written: string,
    asked: readonly string[],
    way: readonly string[],
    into: Map<string, Applied[]>,
  ): void => {
    const id = canonical(written);
    if (way.includes(id)) {
      throw invalid(docs, asked, `profile inheritance cycle detected: ${[...way, id].join(' -> ')}`);
    }
    const profile = profiles.get(id);
    if (profile === undefined) {
      const known = [...profiles.keys()].sort().join(', ');
      throw invalid(docs, asked, `profile '${written}' is not defined (known profiles: ${known})`);
    }
    if (into.has(id)) return;
    if (way.length >= MAX_DEPTH) {
      throw invalid(docs, asked, `profiles extend each other more than ${String(MAX_DEPTH)} deep`);
    }
    const at = [ROOT, 'profiles', profile.key];
    const own = docs.map((doc) => ({ doc, under: [...at, 'patch'] }));
    into.set(id, own.filter(({ doc, under }) => valueAt(doc.table, under) !== undefined).reverse());
    for (const parent of profile.extends.toReversed())
      collect(parent, [...at, 'extends'], [...way, id], into);
  };
  const patchesOf = (written: string, asked: readonly string[]): Applied[] => {
    const highestFirst = new Map<string, Applied[]>();
    collect(written, asked, [], highestFirst);
    return [...highestFirst.values()].flat().reverse();
  };

  const ruleIndex = (composition.auto_select ?? []).findIndex((rule) => fits(rule, facts));
  const active =
    composition.active_profile !== undefined
      ? { name: composition.active_profile, asked: [ROOT, 'active_profile'] }
      : ruleIndex >= 0
        ? {
            name: canonical(composition.auto_select?.[ruleIndex]?.profile ?? ''),
            asked: [ROOT, 'auto_select', String(ruleIndex), 'profile'],
          }
        : undefined;
  const order =
    composition.layer_order !== undefined && composition.layer_order.length > 0
      ? composition.layer_order
      : active === undefined
        ? ['defaults', 'config']
        : ['defaults', 'profile:active', 'config'];
  const orderKey = [ROOT, 'layer_order'];
  return order.flatMap((layer): Applied[] => {
    if (layer === 'defaults') return [];
    if (layer === 'config') return docs.map((doc) => ({ doc, under: [] }));
    if (layer === 'profile:active') {
      if (active === undefined) {
        throw invalid(docs, orderKey, "layer 'profile:active' requires composition.active_profile");
      }
      return patchesOf(active.name, active.asked);
    }
    if (!layer.startsWith('profile:')) throw invalid(docs, orderKey, `unknown layer '${layer}'`);
    return patchesOf(layer.slice('profile:'.length), orderKey);
  });
}

/** The table to which an applied entry refers. */
export function tableOf({ doc, under }: Applied): Table {
  return tableAt(doc.table, under);
}
