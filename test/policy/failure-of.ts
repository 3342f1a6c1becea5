// Returns the failure of an operation as data, so that a test can compare code and texts.
import { Failure, type FailureData } from '../../daemon/base/failure.ts';

/** Returns the failure of `work`. Throws when it succeeds, or when its error is no Failure. */
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
