// The certificates in the keychains of macOS.
import { execFile } from 'node:child_process';
import { LIMITS } from '../../../base/limits.ts';

const OUTPUT_MAX = 32 << 20;

/** PEM of all of them; empty when they cannot be read. */
export function keychain(program = '/usr/bin/security', ms: number = LIMITS.keychainMs): Promise<string> {
  return new Promise((resolve) => {
    const args = [
      'find-certificate',
      '-a',
      '-p',
      '/System/Library/Keychains/SystemRootCertificates.keychain',
    ];
    execFile(
      program,
      [...args, '/Library/Keychains/System.keychain'],
      // A program that hangs may also ignore SIGTERM, and its end is waited for.
      { timeout: ms, killSignal: 'SIGKILL', maxBuffer: OUTPUT_MAX },
      (error, stdout) => {
        resolve(error === null ? stdout : '');
      },
    );
  });
}
