#include "http/address.h"

#include <boost/asio/ip/network_v6.hpp>

namespace diffused::http {

namespace ip = boost::asio::ip;

std::string address_group(const ip::address& address) {
  if (address.is_v4() || address.is_loopback()) return address.to_string();
  const ip::address_v6 six = address.to_v6();
  if (six.is_v4_mapped()) return ip::make_address_v4(ip::v4_mapped, six).to_string();
  constexpr unsigned short kNetworkBits = 64;
  const ip::address_v6 without_zone(six.to_bytes());
  return ip::network_v6(without_zone, kNetworkBits).canonical().to_string();
}

}  // namespace diffused::http
