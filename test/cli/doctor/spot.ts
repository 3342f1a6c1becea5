// A place for a fault, what a fault is, and servers that misbehave.
import { createServer, type Server, type Socket } from 'node:net';
import type { Examined } from '../../../daemon/cli/doctor/row.ts';

/** Where a fault is planted: a folder of its own, in which all is well. */
export interface Spot {
  readonly folder: string;
  readonly env: Record<string, string | undefined>;
  /** The gateways, with one server behind both. */
  readonly gateway: { readonly port: number; readonly caFile: string; readonly fingerprint: string };
  readonly iroh: { readonly endpointId: string; readonly address: string };
  /** Adds lines to bmux.toml, which has the target `prod` already. */
  readonly config: (text: string) => Promise<void>;
  readonly settings: (text: string) => Promise<void>;
  /** Ends with the fault. */
  readonly listen: (server: Server, where: string | number) => Promise<number>;
}

export interface Fault {
  readonly name: string;
  readonly code: string;
  readonly remedy: RegExp;
  /** Codes of what follows from the fault. */
  readonly also?: RegExp;
  /** Returns what the doctor is told besides. */
  readonly plant: (spot: Spot) => Promise<Partial<Examined> | void>;
}

/** Answers each HTTP request alike. */
export const answering = (answer: string): Server =>
  createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(answer));
  });
export const silent = (): Server => {
  const held: Socket[] = [];
  return createServer((socket) => {
    socket.on('error', () => undefined);
    held.push(socket);
  });
};
