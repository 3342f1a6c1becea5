// Functions of the C library, for what Node has no function for. They are called without a check of the arguments.
import { createRequire } from 'node:module';

export interface CLibrary {
  /** A function by its signature in C, as koffi takes it. Throws where the system has no such function. */
  func(signature: string): (...args: unknown[]) => unknown;
}

/** Throws where the package koffi does not load. It takes about 10 ms at first. */
export function cLibrary(): CLibrary {
  const koffi = createRequire(import.meta.filename)('koffi') as { load(library: null): CLibrary };
  return koffi.load(null);
}
