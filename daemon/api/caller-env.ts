// The part of a caller's environment that the broker uses: a whitelist of names. No package imports: client-shim loads this at every start.

/** The only variables that a request carries; others stay out because some BMUX_* hold tokens (docs/decisions/contexts.md). */
export const ENV_WHITELIST = [
  'BMUX_CONFIG', 'BMUX_CONFIG_DIR', 'BMUX_RUNTIME_DIR', 'BMUX_RUNTIME_NAME', 'BMUX_RUNTIME', 'BMUX_DATA_DIR', 'BMUX_STATE_DIR', 'BMUX_LOG_DIR',
  'BMUX_TARGET', 'BMUX_CONTROL_PLANE_URL', 'BMUX_SLOT_NAME', 'BMUX_SLOTS_MANIFEST', 'BMUX_SLOTS_ROOT', 'BMUX_NO_BASE_CONFIG',
  'HOME',
  'HOST',
  'HOSTNAME', 'TMPDIR', 'XDG_CONFIG_HOME', 'XDG_RUNTIME_DIR', 'XDG_DATA_HOME', 'XDG_STATE_HOME', 'TERM', 'SSH_AUTH_SOCK',
  'SSL_CERT_FILE', 'SSL_CERT_DIR', 'KRB5CCNAME',
] as const; // oxfmt-ignore

export type EnvName = (typeof ENV_WHITELIST)[number];
/** A caller's environment, reduced to the whitelist. */
export type CallerEnv = Readonly<Partial<Record<EnvName, string>>>;

/** Only the whitelisted variables of `env`. */
export function whitelisted(env: Readonly<Record<string, string | undefined>>): CallerEnv {
  const kept: Partial<Record<EnvName, string>> = {};
  for (const name of ENV_WHITELIST) {
    const value = env[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}
