// The failure that something ends with, as data: a test then matches its code and texts.
import { Failure, type FailureData } from '../../daemon/base/failure.ts';

/** What `work` fails with. Throws when it succeeds, or fails with anything but a Failure of ours. */
export async function failureOf(work: () => unknown): Promise<FailureData> {
  let result: unknown;
  try {
    result = await work();
  } catch (error) {
    if (error instanceof Failure) return error.data;
    throw error;
  }
  throw new Error(`did not fail, but gave ${JSON.stringify(result)}`);
}
