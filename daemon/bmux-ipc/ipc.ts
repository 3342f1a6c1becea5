// bmux's IPC in both epochs, in one import: envelope, contract, requests, answers.
export { decodeEnvelope, encodeEnvelope, type Envelope } from './envelope.ts';
export {
  defaultContract,
  negotiate,
  REQUIRED_CAPABILITIES,
  type Contract,
  type IncompatibilityReason,
  type Negotiated,
} from './contract.ts';
export { decodeRequest, encodeRequest, encodeRequestFrame, type Request } from './request.ts';
export { decodeResponse, encodeResponseFrame, type Response } from './response.ts';
