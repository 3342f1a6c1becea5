// The certificates in the keychains of macOS.
import { execFile } from 'node:child_process';
import { LIMITS } from '../../../base/limits.ts';

const OUTPUT_MAX = 32 << 20;

/** PEM of all of them; empty when they cannot be read. */
export function keychain(): Promise<string> {
  return new Promise((resolve) => {
    const args = [
      'find-certificate',
      '-a',
      '-p',
      '/System/Library/Keychains/SystemRootCertificates.keychain',
    ];
    execFile(
      '/usr/bin/security',
      [...args, '/Library/Keychains/System.keychain'],
      { timeout: LIMITS.keychainMs, maxBuffer: OUTPUT_MAX },
      (error, stdout) => {
        resolve(error === null ? stdout : '');
      },
    );
  });
}
