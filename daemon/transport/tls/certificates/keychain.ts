// The certificates in the keychains of macOS.
import { LIMITS } from '../../../base/limits.ts';
import { outputOf } from '../../../base/process/output-of.ts';

const OUTPUT_MAX = 32 << 20;
const KEYCHAINS = [
  '/System/Library/Keychains/SystemRootCertificates.keychain',
  '/Library/Keychains/System.keychain',
];

/** PEM of all of them; empty when they cannot be read. */
export async function keychain(
  program = '/usr/bin/security',
  ms: number = LIMITS.keychainMs,
): Promise<string> {
  const limits = { ms, maxBuffer: OUTPUT_MAX };
  const { stdout, error } = await outputOf(program, ['find-certificate', '-a', '-p', ...KEYCHAINS], limits);
  return error === null ? stdout : '';
}
