// What tests are told about the service that runs for them.
import "vitest";

export interface Offer {
  address: string;
  limited_address: string;
  away_address: string;
  user_id: string;
  user_token: string;
  other_token: string;
  admin_token: string;
  api_key: string;
  control: string;
}

declare module "vitest" {
  export interface ProvidedContext {
    service: Offer;
  }
}
