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
