/**
 * What the first, small bundle can do (test/house/build.mjs). Every other command loads a second bundle: Node needs longer to parse both than
 * most commands run.
 */
export const QUICK: ReadonlySet<string> = new Set([
  '--version',
  '-V',
  'status',
  'env',
  'exec',
  'sh-exec',
  'shell-init',
]);

/** What loads the daemon's modules: it has a bundle of its own, as large as both others. */
export const WHOLE: ReadonlySet<string> = new Set(['run', 'doctor']);
